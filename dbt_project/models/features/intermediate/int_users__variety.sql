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

sights as (
    select
        user_id,
        true as is_settled,
        {%- for thing in things %}
        (thing = '{{ thing }}')::utinyint as distinct_{{ thing }}_count,
        {%- endfor %}
        occurred_on,
        occurred_on as known_on,
        hidden_on
    from {{ ref('int_users__sights') }}
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
