-- One row a review.
{{ config(materialized='view') }}

with mapped as (
    {{ mapped_table('reviews') }}
),

typed as (
    select
        {{ text_of('mapped.review_id') }} as review_id,
        {{ text_of('mapped.user_id') }} as user_id,
        {{ text_of('mapped.item_id') }} as item_id,
        {{ text_of('mapped.body') }} as body,
        {{ cast_of('mapped.rating', 'double') }} as rating,
        {{ instant_of('mapped.created_at') }} as created_at
    from mapped
)

select * from typed
