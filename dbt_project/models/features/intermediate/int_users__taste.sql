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
    where thing in ('category', 'brand') and {{ in_bucket('user_id') }}
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

-- Numbers are lighter to join and to group by than ids. Those of brands are odd, those of categories even, and both are
-- in the order of the ids.
things as materialized (
    select
        thing,
        thing_id,
        2 * row_number() over (partition by thing order by thing_id) + (thing = 'brand')::integer as number
    from (
        select distinct
            thing,
            thing_id
        from sights
    ) as met
),

users as materialized (
    select
        *,
        row_number() over () as user_number
    from (
        select distinct
            user_id,
            is_settled
        from snapshots
    ) as of_snapshots
),

spots as materialized (
    select
        snapshots.*,
        users.user_number,
        snapshots.as_of::date as as_on,
        row_number() over () as spot
    from snapshots
    inner join users
        on snapshots.user_id = users.user_id and snapshots.is_settled = users.is_settled
),

numbered as materialized (
    select
        users.user_number,
        things.number,
        sights.event_count::double as event_count,
        sights.occurred_on,
        sights.known_on,
        sights.hidden_on
    from sights
    inner join things
        on sights.thing = things.thing and sights.thing_id = things.thing_id
    inner join users
        on sights.user_id = users.user_id and sights.is_settled = users.is_settled
),

-- A cell is a spot and a thing in one integer.
counts as (
    select
        spots.spot * 2147483648 + numbered.number as cell,
        {%- for days in profile_windows() %}
        sum(
            case when spots.as_on - numbered.occurred_on <= {{ days }} then numbered.event_count else 0 end
        ) as count_{{ days }}d,
        {%- endfor %}
        sum(numbered.event_count) as count_lifetime
    from numbered
    inner join spots
        on
            numbered.user_number = spots.user_number
            and numbered.known_on < spots.as_on
            and numbered.hidden_on >= spots.as_on
    group by cell
),

-- The largest count and the smallest number that has it, in one integer: the count times 2^32, less the number.
tastes as (
    select
        cell >> 31 as spot,
        (cell & 1) = 1 as is_brand,
        {%- for window in profile_suffixes() %}
        {{- ',' if not loop.first }}
        sum(count_{{ window }}) as total_{{ window }},
        sum({{ count_log_count('count_' ~ window) }}) as count_log_count_{{ window }},
        max(count_{{ window }}::bigint * 4294967296 - (cell & 2147483647)) as largest_{{ window }}
        {%- endfor %}
    from counts
    group by all
),

unpacked as (
    select
        *,
        {%- for window in profile_suffixes() %}
        {{- ',' if not loop.first }}
        (largest_{{ window }} + 4294967295) >> 32 as top_count_{{ window }},
        case when largest_{{ window }} > 0 then (-largest_{{ window }}) & 4294967295 end as top_number_{{ window }}
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
        on {{ thing }}_taste.top_number_{{ window }} = {{ thing }}_{{ window }}.number
    {% endfor -%}
    {% endfor -%}
)

select * from measured
