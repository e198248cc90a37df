-- One row a user and snapshot: counts, sums and recency, from the daily tiles known by then.
{%- set sums = {'event_count': 'integer'} %}
{%- for event_type in counted_event_types() %}
{%- do sums.update({event_type ~ '_count': 'integer'}) %}
{%- endfor %}
{%- do sums.update({'purchase_value': 'double', 'duration_seconds': 'double', 'active_day_count': 'integer'}) %}
with snapshots as (
    select
        snapshots.user_id,
        snapshots.as_of
    from {{ ref('int_users__snapshots') }} as snapshots
    where {{ due('snapshots') }} and {{ in_bucket('snapshots.user_id') }}
),

daily as (
    select * from {{ ref('int_users__daily') }}
    where {{ in_bucket('user_id') }}
),

{{ windowed(
    'snapshots', 'daily', ['user_id'], sums=sums, first=['first_occurred_at'],
    last=['last_occurred_at', 'last_view_at', 'last_cart_at', 'last_purchase_at']
) }},

measured as (
    select
        * exclude (
            as_of, first_occurred_at_lifetime, last_occurred_at_lifetime,
            {%- for event_type in recency_event_types() %}
            last_{{ event_type }}_at_lifetime{{ ', ' if not loop.last }}
            {%- endfor %}
        ),
        date_diff('second', last_occurred_at_lifetime, as_of) / 86400.0 as recency_days,
        {%- for event_type in recency_event_types() %}
        date_diff('second', last_{{ event_type }}_at_lifetime, as_of) / 86400.0 as {{ event_type }}_recency_days,
        {%- endfor %}
        date_diff('second', first_occurred_at_lifetime, as_of) / 86400.0 as tenure_days,
        as_of
    from windowed
)

select * from measured
