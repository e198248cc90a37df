-- The median price seen in each category, and over all (category_id NULL), fitted before the training cut.
with events as (
    select * from {{ ref('int_events__deduplicated') }}
),

items as (
    select * from {{ ref('stg_items') }}
),

snapshots as (
    select * from {{ ref('int_snapshots__grid') }}
),

training as (
    select max(snapshots.as_of) as fitted_to
    from snapshots
    where snapshots.is_training
),

priced as (
    select
        items.category_id,
        events.price,
        training.fitted_to
    from events
    inner join training
        on greatest(events.occurred_at, coalesce(events.loaded_at, events.occurred_at)) < training.fitted_to
    asof left join items
        on events.item_id = items.item_id and events.occurred_at >= items.valid_from
    where events.price is not null
),

of_categories as (
    select
        priced.category_id,
        median(priced.price) as price,
        count(*) as event_count,
        any_value(priced.fitted_to) as fitted_to
    from priced
    where priced.category_id is not null
    group by priced.category_id
),

of_all as (
    select
        null as category_id,
        median(priced.price) as price,
        count(*) as event_count,
        any_value(priced.fitted_to) as fitted_to
    from priced
),

medians as (
    select * from of_categories
    union all
    select * from of_all
)

select * from medians
