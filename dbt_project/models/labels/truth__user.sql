-- The true probabilities that a simulated shop wrote down; no rows for a real shop.
{{ config(materialized='table') }}
with mapped as (
    {{ mapped_table('truth') }}
),

typed as (
    select
        {{ text_of('mapped.user_id') }} as user_id,
        {{ instant_of('mapped.as_of') }} as as_of,
        {{ cast_of('mapped.purchased_30d', 'double') }} as purchased_30d,
        {{ cast_of('mapped.churned_30d', 'double') }} as churned_30d
    from mapped
)

select * from typed
