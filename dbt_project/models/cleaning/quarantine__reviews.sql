-- Reviews that cannot be used, as they came, each with its reason.
with reviews as (
    select * from {{ ref('stg_reviews') }}
),

rejected as (
    select
        reviews.row_id,
        reviews.review_id,
        reviews.user_id,
        reviews.item_id,
        reviews.rejection_reason,
        reviews.raw_text,
        reviews.loaded_at
    from reviews
    where reviews.rejection_reason is not null
)

select * from rejected
