-- How the scores of a snapshot are spread. A view: what a build or a promotion logs is there at once.
with scores as (
    select * from {{ foretable.without_catalog(ref('int_scores__logged')) }}
),

versions as (
    select
        prediction,
        version,
        threshold
    from {{ foretable.without_catalog(source('foretable', 'models')) }}
),

spread as (
    select
        scores.prediction,
        scores.version,
        count(*) as row_count,
        avg(scores.score) as mean_score,
        min(scores.score) as least_score,
        quantile_cont(scores.score, 0.1) as score_p10,
        quantile_cont(scores.score, 0.5) as score_p50,
        quantile_cont(scores.score, 0.9) as score_p90,
        max(scores.score) as greatest_score,
        any_value(versions.threshold) as threshold,
        avg((scores.score >= versions.threshold)::integer) as share_above_threshold,
        bool_and(scores.is_shadow) as is_shadow,
        scores.as_of
    from scores
    inner join versions
        on scores.prediction = versions.prediction and scores.version = versions.version
    group by scores.prediction, scores.version, scores.as_of
)

select * from spread
