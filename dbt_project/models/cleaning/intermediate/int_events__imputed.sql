-- One row an event that happened, with the item's category and brand of that time, a session for every event,
-- and missing prices filled from the item's list price of that time, else from the category's median.
with events as (
    select * from {{ ref('int_events__deduplicated') }}
),

items as (
    select * from {{ ref('stg_items') }}
),

price_medians as (
    select * from {{ ref('int_items__price_medians') }}
),

described as (
    select
        events.*,
        items.category_id,
        items.brand,
        items.price as list_price
    from events
    asof left join items
        on events.item_id = items.item_id and events.occurred_at >= items.valid_from
),

imputed as (
    select
        described.row_id,
        described.event_id,
        described.user_id,
        coalesce(described.session_id, described.user_id || '@' || described.occurred_at::date) as session_id,
        described.event_type,
        described.item_id,
        described.category_id,
        described.brand,
        described.query,
        described.channel,
        described.device,
        described.campaign_id,
        described.order_id,
        described.quantity,
        case
            when described.item_id is not null
                then coalesce(described.price, described.list_price, category_median.price, overall_median.price)
            else described.price
        end as price,
        described.duration_seconds,
        described.price is null and described.item_id is not null as is_price_imputed,
        described.session_id is null as is_session_id_imputed,
        described.occurred_at,
        described.loaded_at,
        greatest(described.occurred_at, coalesce(described.loaded_at, described.occurred_at)) as known_at
    from described
    left join price_medians as category_median
        on described.category_id = category_median.category_id
    left join price_medians as overall_median
        on overall_median.category_id is null
)

select * from imputed
