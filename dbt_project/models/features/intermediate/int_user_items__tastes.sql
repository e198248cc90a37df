-- One row a user, category, price band and snapshot: events with items of that kind in 90 days. What an item costs and
-- where it belongs is what the catalogue said at as_of.
with {{ days_before_snapshots(90) }},

items as (
    select items.* from {{ ref('int_items__snapshots') }} as items
    where {{ due('items') }}
),

events as (
    select
        events.user_id,
        items.category_id,
        items.price_band,
        days.as_of
    from {{ ref('int_events__imputed') }} as events
    inner join days
        on events.occurred_at::date = days.occurred_on and {{ known_before('events', 'days') }}
    inner join items
        on events.item_id = items.item_id and days.as_of = items.as_of
),

tastes as (
    select
        user_id,
        category_id,
        count(*) as event_count_90d,
        price_band,
        as_of
    from events
    group by user_id, category_id, price_band, as_of
)

select * from tastes
