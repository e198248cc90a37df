-- One row a category and snapshot: what was known of the category at that instant.
{{ config(materialized='snapshots', contract=contract_of_defaults(['windows'])) }}

with snapshots as (
    select snapshots.* from {{ ref('int_categories__snapshots') }} as snapshots
    where {{ due('snapshots') }}
),

activity as (
    select activity.* from {{ ref('int_categories__activity') }} as activity
    where {{ due('activity') }}
),

audience as (
    select audience.* from {{ ref('int_categories__audience') }} as audience
    where {{ due('audience') }}
),

ratings as (
    select ratings.* from {{ ref('int_categories__ratings') }} as ratings
    where {{ due('ratings') }}
),

items as (
    select items.* from {{ ref('int_categories__items') }} as items
    where {{ due('items') }}
),

measured as (
    select
        snapshots.category_id,
        coalesce(items.item_count, 0) as item_count,
        items.* exclude (category_id, item_count, as_of),
        activity.* exclude (category_id, as_of),
        audience.* exclude (category_id, as_of),
        ratings.* exclude (category_id, as_of),
        {{ rates_of_things('activity') }}
        snapshots.as_of
    from snapshots
    inner join activity
        on snapshots.category_id = activity.category_id and snapshots.as_of = activity.as_of
    inner join audience
        on snapshots.category_id = audience.category_id and snapshots.as_of = audience.as_of
    inner join ratings
        on snapshots.category_id = ratings.category_id and snapshots.as_of = ratings.as_of
    left join items
        on snapshots.category_id = items.category_id and snapshots.as_of = items.as_of
)

select * from measured
