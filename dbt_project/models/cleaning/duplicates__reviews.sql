-- Usable reviews that were told to be copies of a review that was kept.
with reviews as (
    select * from {{ ref('stg_reviews') }}
),

matched as (
    {{ followed_to_kept('int_reviews__matched') }}
),

duplicates as (
    select
        matched.row_id,
        matched.kept_row_id,
        matched.matched_by,
        {{ columns_of('reviews', 'reviews') }},
        reviews.updated_at,
        reviews.loaded_at
    from matched
    inner join reviews
        on matched.row_id = reviews.row_id
)

select * from duplicates
