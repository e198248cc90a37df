-- One row a user and snapshot: at what hours and on what days of the week the user comes, and how long views last.
{%- set weekdays = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'] %}
{%- set parts = dayparts() + weekdays %}
{%- set sums = {'event_count': 'integer', 'view_seconds': 'double', 'timed_view_count': 'integer'} %}
{%- for part in parts %}
{%- do sums.update({part ~ '_count': 'integer'}) %}
{%- endfor %}
with snapshots as (
    select
        snapshots.user_id,
        snapshots.as_of
    from {{ ref('int_users__snapshots') }} as snapshots
    where {{ due('snapshots') }} and {{ in_bucket('snapshots.user_id') }}
),

tiles as (
    select
        *,
        {%- for weekday in weekdays %}
        {{- ',' if not loop.first }}
        case when isodow(occurred_on) = {{ loop.index }} then event_count else 0 end as {{ weekday }}_count
        {%- endfor %}
    from {{ ref('int_users__hours') }}
    where {{ in_bucket('user_id') }}
),

{{ windowed('snapshots', 'tiles', ['user_id'], sums=sums, windows=profile_windows()) }},

measured as (
    select
        user_id,
        {%- for window in profile_suffixes() %}
        {%- for daypart in dayparts() %}
        {{ daypart }}_count_{{ window }} / nullif(event_count_{{ window }}, 0) as {{ daypart }}_share_{{ window }},
        {%- endfor %}
        (saturday_count_{{ window }} + sunday_count_{{ window }})
        / nullif(event_count_{{ window }}, 0) as weekend_share_{{ window }},
        {%- for name, names in {'daypart': dayparts(), 'weekday': weekdays}.items() %}
        {%- set terms = [] %}
        {%- for part in names %}
        {%- do terms.append(count_log_count(part ~ '_count_' ~ window)) %}
        {%- endfor %}
        {{ entropy_of_sums(
            'event_count_' ~ window, '(' ~ terms | join('\n            + ') ~ ')'
        ) }} as {{ name }}_entropy_{{ window }},
        {%- endfor %}
        view_seconds_{{ window }} / nullif(timed_view_count_{{ window }}, 0) as view_seconds_mean_{{ window }},
        {%- endfor %}
        as_of
    from windowed
)

select * from measured
