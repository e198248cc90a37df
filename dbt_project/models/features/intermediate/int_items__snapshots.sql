-- One row an item and snapshot: which items are looked at when, as the catalogue described them then. The price is
-- ranked among the items of the same category that have one at that instant.
with {{ snapshots_of_things('item_id', 'int_items__daily') }},

described as (
    select
        snapshots.item_id,
        items.category_id,
        items.brand,
        items.price as list_price,
        date_diff('second', items.listed_at, snapshots.as_of) / 86400.0 as listed_days,
        snapshots.as_of
    from snapshots
    asof left join {{ ref('stg_items') }} as items
        on snapshots.item_id = items.item_id and snapshots.as_of > items.valid_from
),

ranked as (
    select
        item_id,
        case
            when list_price is not null and category_id is not null
                then percent_rank() over (partition by as_of, category_id, list_price is null order by list_price)
        end as price_rank_in_category,
        case
            when category_id is not null then median(list_price) over (partition by as_of, category_id)
        end as category_median_price,
        as_of
    from described
),

snapshots_described as (
    select
        described.item_id,
        described.category_id,
        described.brand,
        described.list_price,
        ranked.price_rank_in_category,
        described.list_price / nullif(ranked.category_median_price, 0) as price_over_category_median,
        case
            when ranked.price_rank_in_category is not null
                then least(floor(ranked.price_rank_in_category * 4), 3)::integer + 1
        end as price_band,
        described.listed_days,
        described.as_of
    from described
    inner join ranked
        on described.item_id = ranked.item_id and described.as_of = ranked.as_of
)

select * from snapshots_described
