-- One row a stage on the way to a purchase, with how many users came so far in the 30 days before the snapshot.
{{ config(enabled=(30 in setting('horizons'))) }}

with users as (
    select * from {{ ref('mart__users') }}
),

-- Who bought has come all the way, also in a shop whose log tells nothing but purchases.
reached as (
    select
        user_id,
        as_of,
        case
            when purchase_count_30d > 0 then 4
            when cart_count_30d > 0 then 3
            when view_count_30d > 0 then 2
            when event_count_30d > 0 then 1
            else 0
        end as furthest
    from users
),

stages as (
    select
        unnest(['came', 'viewed', 'put into the cart', 'bought']) as stage_name,
        unnest(range(1, 5))::integer as stage_number
),

counted as (
    select
        stages.stage_name,
        stages.stage_number,
        count(reached.user_id) filter (where reached.furthest >= stages.stage_number) as user_count,
        max(reached.as_of) as as_of
    from stages
    cross join reached
    group by stages.stage_name, stages.stage_number
)

select * from counted
