-- One row a user, item and snapshot, of those that met in the days before it: what was known of the pair then.
{{ config(materialized='snapshots', contract=contract_of_defaults(['windows', 'user_item_days'])) }}

{%- set longest = setting('user_item_days') %}
with pairs as (
    select pairs.* from {{ ref('int_user_items__pairs') }} as pairs
    where {{ due('pairs') }}
),

items as (
    select items.* from {{ ref('features__item') }} as items
    where {{ due('items') }}
),

tastes as (
    select tastes.* from {{ ref('int_user_items__tastes') }} as tastes
    where {{ due('tastes') }}
),

of_users as (
    select
        user_id,
        sum(event_count_90d) as event_count_90d,
        as_of
    from tastes
    group by user_id, as_of
),

of_categories as (
    select
        user_id,
        category_id,
        sum(event_count_90d) as event_count_90d,
        as_of
    from tastes
    where category_id is not null
    group by user_id, category_id, as_of
),

of_price_bands as (
    select
        user_id,
        sum(event_count_90d) as event_count_90d,
        price_band,
        as_of
    from tastes
    where price_band is not null
    group by user_id, price_band, as_of
),

measured as (
    select
        pairs.user_id,
        pairs.item_id,
        items.category_id,
        items.brand,
        pairs.* exclude (user_id, item_id, is_in_cart, as_of),
        pairs.event_count_{{ longest }}d
        / sum(pairs.event_count_{{ longest }}d) over (
            partition by pairs.user_id, pairs.as_of
        )::double as user_event_share_{{ longest }}d,
        case
            when items.category_id is not null
                then coalesce(of_categories.event_count_90d::double, 0) / of_users.event_count_90d::double
        end as category_affinity_90d,
        case
            when items.price_band is not null
                then coalesce(of_price_bands.event_count_90d::double, 0) / of_users.event_count_90d::double
        end as price_band_affinity_90d,
        items.list_price as item_list_price,
        items.price_rank_in_category as item_price_rank_in_category,
        items.price_band as item_price_band,
        items.event_count_30d as item_event_count_30d,
        items.purchase_count_30d as item_purchase_count_30d,
        items.distinct_user_count_30d as item_distinct_user_count_30d,
        items.view_to_purchase_rate_30d as item_view_to_purchase_rate_30d,
        {%- if 60 in windows() %}
        items.view_velocity_30d as item_view_velocity_30d,
        {%- endif %}
        items.popularity_rank_30d as item_popularity_rank_30d,
        items.rating_count_lifetime as item_rating_count_lifetime,
        items.rating_mean_lifetime as item_rating_mean_lifetime,
        pairs.is_in_cart,
        pairs.as_of
    from pairs
    inner join items
        on pairs.item_id = items.item_id and pairs.as_of = items.as_of
    left join of_users
        on pairs.user_id = of_users.user_id and pairs.as_of = of_users.as_of
    left join of_categories
        on
            pairs.user_id = of_categories.user_id
            and items.category_id = of_categories.category_id
            and pairs.as_of = of_categories.as_of
    left join of_price_bands
        on
            pairs.user_id = of_price_bands.user_id
            and items.price_band = of_price_bands.price_band
            and pairs.as_of = of_price_bands.as_of
)

select * from measured
