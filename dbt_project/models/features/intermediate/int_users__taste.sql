-- One row a user and snapshot: how much of what the user does is in one category and one brand, and which these are.
-- Every event with an item counts once. Of several favourites it is the one whose id sorts first.
{%- set favourite_suffixes = profile_suffixes() | select('in', ['90d', 'lifetime']) | list %}
with {{ settled_snapshots() }},

unsettled_events as (
    {{ events_of_unsettled() }}
),

sights as (
    select
        user_id,
        true as is_settled,
        thing,
        thing_id,
        event_count,
        occurred_on,
        occurred_on as known_on,
        {{ end_of_time() }} as hidden_on
    from {{ ref('int_users__sights') }}
    where thing in ('category', 'brand')
    {%- for thing, column in {'category': 'category_id', 'brand': 'brand'}.items() %}
    union all by name
    select
        user_id,
        false as is_settled,
        '{{ thing }}' as thing,
        {{ column }} as thing_id,
        count(*) as event_count,
        occurred_at::date as occurred_on,
        {{ only_at('as_of') }}
    from unsettled_events
    where {{ column }} is not null
    group by user_id, as_of, {{ column }}, occurred_at::date
    {%- endfor %}
),

-- Numbers in the order of the ids, which are lighter to group by.
things as materialized (
    select
        thing,
        thing_id,
        row_number() over (order by thing, thing_id) as number
    from (
        select distinct
            thing,
            thing_id
        from sights
    ) as met
),

spots as materialized (
    select
        *,
        row_number() over () as spot
    from snapshots
),

counts as (
    select
        spots.spot,
        things.thing = 'brand' as is_brand,
        things.number,
        {%- for days in profile_windows() %}
        sum(
            case when sights.occurred_on >= {{ window_start(days, 'spots') }} then sights.event_count else 0 end::double
        ) as count_{{ days }}d,
        {%- endfor %}
        sum(sights.event_count::double) as count_lifetime
    from sights
    inner join things
        on sights.thing = things.thing and sights.thing_id = things.thing_id
    inner join spots
        on
            sights.user_id = spots.user_id and sights.is_settled = spots.is_settled
            and {{ known_before('sights', 'spots') }}
    group by spots.spot, is_brand, things.number
),

-- The largest count and the smallest number that has it, in one integer: the count times 2^32, less the number.
tastes as (
    select
        spot,
        is_brand,
        {%- for window in profile_suffixes() %}
        {{- ',' if not loop.first }}
        sum(count_{{ window }}) as total_{{ window }},
        sum({{ count_log_count('count_' ~ window) }}) as count_log_count_{{ window }},
        max(count_{{ window }}::bigint * 4294967296 - number) as largest_{{ window }}
        {%- endfor %}
    from counts
    group by spot, is_brand
),

unpacked as (
    select
        *,
        {%- for window in profile_suffixes() %}
        {{- ',' if not loop.first }}
        (largest_{{ window }} + 4294967295) >> 32 as top_count_{{ window }},
        (-largest_{{ window }}) & 4294967295 as top_number_{{ window }}
        {%- endfor %}
    from tastes
),

measured as (
    select
        spots.user_id,
        {%- for thing in ['category', 'brand'] %}
        {%- for window in favourite_suffixes %}
        {{ thing }}_{{ window }}.thing_id as favourite_{{ thing }}_{{ window }},
        {%- endfor %}
        {%- endfor %}
        {%- for thing in ['category', 'brand'] %}
        {%- for window in profile_suffixes() %}
        {{ thing }}_taste.top_count_{{ window }}
        / nullif({{ thing }}_taste.total_{{ window }}, 0) as top_{{ thing }}_share_{{ window }},
        {{ entropy_of_sums(
            thing ~ '_taste.total_' ~ window, thing ~ '_taste.count_log_count_' ~ window
        ) }} as {{ thing }}_entropy_{{ window }},
        {%- endfor %}
        {%- endfor %}
        spots.as_of
    from spots
    {% for thing in ['category', 'brand'] -%}
    left join unpacked as {{ thing }}_taste
        on spots.spot = {{ thing }}_taste.spot and {{ 'not ' if thing == 'category' }}{{ thing }}_taste.is_brand
    {% for window in favourite_suffixes -%}
    left join things as {{ thing }}_{{ window }}
        on
            {{ thing }}_taste.top_number_{{ window }} = {{ thing }}_{{ window }}.number
            and {{ thing }}_taste.top_count_{{ window }} > 0
    {% endfor -%}
    {% endfor -%}
)

select * from measured
