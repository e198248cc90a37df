-- The last score that a version gave a row: a promotion scores rows again, and what it says of them is what served.
with prediction_log as (
    select
        *,
        rowid as log_row
    from {{ foretable.without_catalog(source('foretable', 'prediction_log')) }}
),

last_scores as (
    select
        prediction,
        version,
        entity_id,
        item_id,
        max_by(score, log_row)::double as score,
        max_by(is_shadow, log_row) as is_shadow,
        as_of
    from prediction_log
    where score is not null
    group by all
)

select * from last_scores
