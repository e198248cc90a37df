-- One row a category and snapshot that has items then: how many, what they cost, and how far events go to few of them.
with items as (
    select items.* from {{ ref('int_items__snapshots') }} as items
    where {{ due('items') }} and items.category_id is not null
),

activity as (
    select activity.* from {{ ref('int_items__activity') }} as activity
    where {{ due('activity') }}
),

priced as (
    select
        items.category_id,
        items.list_price,
        try_cast(items.list_price as decimal(18, 4)) as exact_price,
        {%- for days in [30, 90] %}
        activity.event_count_{{ days }}d::hugeint as event_count_{{ days }}d,
        {%- endfor %}
        items.as_of
    from items
    inner join activity
        on items.item_id = activity.item_id and items.as_of = activity.as_of
),

measured as (
    select
        category_id,
        count(*)::integer as item_count,
        sum(exact_price)::double / nullif(count(exact_price), 0) as list_price_mean,
        median(list_price) as list_price_median,
        min(list_price) as list_price_min,
        max(list_price) as list_price_max,
        {%- for days in [30, 90] %}
        sum(event_count_{{ days }}d * event_count_{{ days }}d)::double
        / nullif(
            (sum(event_count_{{ days }}d) * sum(event_count_{{ days }}d))::double, 0
        ) as item_concentration_{{ days }}d,
        max(event_count_{{ days }}d)::double
        / nullif(sum(event_count_{{ days }}d)::double, 0) as top_item_share_{{ days }}d,
        {%- endfor %}
        as_of
    from priced
    group by category_id, as_of
)

select * from measured
