-- How good the scores of a snapshot turned out to be: the log joined with the outcomes that are known by now. It is a
-- view, and so always current.
with scores as (
    select * from {{ foretable.without_catalog(ref('int_scores__logged')) }}
),

outcomes as (
    select * from {{ foretable.without_catalog(source('foretable', 'outcomes')) }}
),

versions as (
    select
        prediction,
        version,
        coalesce(threshold, 0.5) as threshold
    from {{ foretable.without_catalog(source('foretable', 'models')) }}
),

decay as (
    select * from {{ foretable.without_catalog(source('foretable', 'decay')) }}
),

-- Rows of equal score are one step of the ranking: whichever order they came in tells nothing.
tied as (
    select
        scores.prediction,
        scores.version,
        scores.score,
        count(*) as row_count,
        sum(outcomes.label) as positive_count,
        count(*) - sum(outcomes.label) as negative_count,
        bool_and(scores.is_shadow) as is_shadow,
        scores.as_of
    from scores
    inner join outcomes
        on
            scores.prediction = outcomes.prediction
            and scores.entity_id = outcomes.entity_id
            and scores.as_of = outcomes.as_of
    group by scores.prediction, scores.version, scores.as_of, scores.score
),

ranked as (
    select
        *,
        least(greatest(score, 1e-7), 1 - 1e-7) as kept_score,
        sum(negative_count) over snapshot_up - negative_count / 2 as negatives_below,
        -- Ten bins of equal count; a step falls into that of its middle row, from the highest score down.
        least(9, floor(
            10 * (sum(row_count) over snapshot_down - row_count / 2)
            / sum(row_count) over (partition by prediction, version, as_of)
        )) as bin
    from tied
    window
        snapshot_up as (partition by prediction, version, as_of order by score),
        snapshot_down as (partition by prediction, version, as_of order by score desc)
),

binned as (
    select
        prediction,
        version,
        as_of,
        abs(sum(positive_count - score * row_count)) as excess
    from ranked
    group by prediction, version, as_of, bin
),

excesses as (
    select
        prediction,
        version,
        as_of,
        sum(excess) as excess
    from binned
    group by prediction, version, as_of
),

measured as (
    select
        ranked.prediction,
        ranked.version,
        sum(ranked.row_count)::bigint as row_count,
        sum(ranked.positive_count)::bigint as positive_count,
        sum(ranked.score * ranked.row_count) / sum(ranked.row_count) as mean_score,
        sum(ranked.positive_count * ranked.negatives_below)
        / nullif(sum(ranked.positive_count) * sum(ranked.negative_count), 0) as roc_auc,
        -sum(
            ranked.positive_count * ln(ranked.kept_score) + ranked.negative_count * ln(1 - ranked.kept_score)
        ) / sum(ranked.row_count) as log_loss,
        sum(
            ranked.positive_count * (1 - ranked.score) ** 2 + ranked.negative_count * ranked.score ** 2
        ) / sum(ranked.row_count) as brier,
        any_value(versions.threshold) as threshold,
        sum(ranked.row_count) filter (where ranked.score >= versions.threshold) as said_true,
        coalesce(sum(ranked.positive_count) filter (where ranked.score >= versions.threshold), 0) as found,
        bool_and(ranked.is_shadow) as is_shadow,
        ranked.as_of
    from ranked
    inner join versions
        on ranked.prediction = versions.prediction and ranked.version = versions.version
    group by ranked.prediction, ranked.version, ranked.as_of
),

judged as (
    select
        measured.prediction,
        measured.version,
        measured.row_count,
        measured.positive_count,
        measured.positive_count / measured.row_count as event_rate,
        measured.mean_score,
        measured.roc_auc,
        decay.test_roc_auc,
        decay.roc_auc_lost,
        measured.log_loss,
        measured.brier,
        excesses.excess / measured.row_count as expected_calibration_error,
        measured.threshold,
        measured.found / measured.said_true as precision_at_threshold,
        measured.found / nullif(measured.positive_count, 0) as recall_at_threshold,
        measured.is_shadow,
        measured.as_of
    from measured
    inner join excesses
        on
            measured.prediction = excesses.prediction
            and measured.version = excesses.version
            and measured.as_of = excesses.as_of
    left join decay
        on
            measured.prediction = decay.prediction
            and measured.version = decay.version
            and measured.as_of = decay.as_of
)

select * from judged
