-- One row a user and snapshot: distinct items, categories and brands met. A thing counts in a window if its last sight
-- does.
{%- set things = {'item': 'item_id', 'category': 'category_id', 'brand': 'brand'} %}
{%- set sums = {} %}
{%- for thing in things %}
{%- do sums.update({'distinct_' ~ thing ~ '_count': 'integer'}) %}
{%- endfor %}
with {{ settled_snapshots() }},

unsettled_events as (
    {{ events_of_unsettled() }}
),

-- Up to which of the snapshots a sight is the last one.
hiding_days as (
    select distinct hidden_on from {{ ref('int_users__sights') }}
),

instants as (
    select distinct as_of from snapshots
),

last_snapshots as (
    select
        hiding_days.hidden_on,
        max(instants.as_of)::date as last_on
    from hiding_days
    inner join instants
        on hiding_days.hidden_on >= instants.as_of
    group by hiding_days.hidden_on
),

-- Few sights are the last one at any snapshot, and many of a day up to the same one: these are counted together.
sights as (
    select
        sights.user_id,
        true as is_settled,
        {%- for thing in things %}
        sum((sights.thing = '{{ thing }}')::utinyint)::integer as distinct_{{ thing }}_count,
        {%- endfor %}
        sights.occurred_on,
        sights.occurred_on as known_on,
        last_snapshots.last_on as hidden_on
    from {{ ref('int_users__sights') }} as sights
    inner join last_snapshots
        on sights.hidden_on = last_snapshots.hidden_on and sights.occurred_on < last_snapshots.last_on
    where {{ in_bucket('sights.user_id') }}
    group by sights.user_id, sights.occurred_on, last_snapshots.last_on
    {%- for thing, column in things.items() %}
    union all by name
    select
        user_id,
        false as is_settled,
        1 as distinct_{{ thing }}_count,
        max(occurred_at)::date as occurred_on,
        {{ only_at('as_of') }}
    from unsettled_events
    where {{ column }} is not null
    group by user_id, as_of, {{ column }}
    {%- endfor %}
),

{{ windowed('snapshots', 'sights', ['user_id', 'is_settled'], sums=sums) }},

measured as (
    select * exclude (is_settled)
    from windowed
)

select * from measured
