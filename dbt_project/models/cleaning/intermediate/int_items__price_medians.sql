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

medians as (
    select
        priced.category_id,
        median(priced.price) as price,
        count(*) as event_count,
        any_value(priced.fitted_to) as fitted_to
    from priced
    group by grouping sets ((priced.category_id), ())
    having priced.category_id is not null or grouping(priced.category_id) = 1
)

select * from medians
