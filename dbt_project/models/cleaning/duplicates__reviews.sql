-- Usable reviews that were told to be copies of a review that was kept.
with reviews as (
    select * from {{ ref('stg_reviews') }}
),

matched as (
    select * from {{ ref('int_reviews__matched') }}
),

-- A winner may lose to a later rule: follow it to the row that was kept.
resolved as (
    select
        matched.row_id,
        coalesce(
            later_winners.winner_row_id, winners.winner_row_id, matched.winner_row_id
        ) as kept_row_id,
        matched.matched_by
    from matched
    left join matched as winners
        on matched.winner_row_id = winners.row_id
    left join matched as later_winners
        on winners.winner_row_id = later_winners.row_id
),

duplicates as (
    select
        resolved.row_id,
        resolved.kept_row_id,
        resolved.matched_by,
        {{ columns_of('reviews', 'reviews') }},
        reviews.updated_at,
        reviews.loaded_at
    from resolved
    inner join reviews
        on resolved.row_id = reviews.row_id
)

select * from duplicates
