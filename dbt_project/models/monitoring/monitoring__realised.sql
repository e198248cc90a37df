-- How good the scores of a snapshot turned out to be, once its outcomes were known. A view, and so always current.
{%- set metrics_in_columns = [
    'roc_auc', 'log_loss', 'brier', 'expected_calibration_error', 'precision', 'recall', 'rmse', 'mae', 'normalised_gini',
    'concordance', 'ndcg_at_10', 'mrr', 'hr_at_10', 'macro_roc_auc', 'top_3_accuracy'
] %}
with realised as (
    select * from {{ foretable.without_catalog(source('foretable', 'realised')) }}
),

scores as (
    select * from {{ foretable.without_catalog(ref('int_scores__logged')) }}
),

outcomes as (
    select * from {{ foretable.without_catalog(source('foretable', 'outcomes')) }}
),

versions as (
    select * from {{ foretable.without_catalog(source('foretable', 'models')) }}
),

decay as (
    select * from {{ foretable.without_catalog(source('foretable', 'decay')) }}
),

-- A metric that is not defined, as the AUC of outcomes that are all alike, is NaN.
metrics as (
    select
        prediction,
        version,
        any_value(row_count) as row_count,
        {%- for metric in metrics_in_columns %}
        any_value(value) filter (where metric = '{{ metric }}' and not isnan(value)) as {{ metric }},
        {%- endfor %}
        as_of
    from realised
    group by prediction, version, as_of
),

counts as (
    select
        scores.prediction,
        scores.version,
        count(*) filter (where outcomes.label > 0) as positive_count,
        avg(outcomes.label) as event_rate,
        avg(scores.score) as mean_score,
        bool_and(scores.is_shadow) as is_shadow,
        scores.as_of
    from scores
    inner join outcomes
        on
            scores.prediction = outcomes.prediction
            and scores.entity_id = outcomes.entity_id
            and scores.item_id is not distinct from outcomes.item_id
            and scores.as_of = outcomes.as_of
    group by scores.prediction, scores.version, scores.as_of
),

judged as (
    select
        metrics.prediction,
        metrics.version,
        metrics.row_count,
        counts.positive_count,
        counts.event_rate,
        counts.mean_score,
        versions.deciding_metric,
        decay.test_value,
        decay.realised_value,
        decay.value_lost,
        metrics.roc_auc,
        case when decay.metric = 'roc_auc' then decay.test_value end as test_roc_auc,
        case when decay.metric = 'roc_auc' then decay.value_lost end as roc_auc_lost,
        metrics.log_loss,
        metrics.brier,
        metrics.expected_calibration_error,
        metrics.rmse,
        metrics.mae,
        metrics.normalised_gini,
        metrics.concordance,
        metrics.ndcg_at_10,
        metrics.mrr,
        metrics.hr_at_10,
        metrics.macro_roc_auc,
        metrics.top_3_accuracy,
        case when versions.kind = 'binary' then coalesce(versions.threshold, 0.5) end as threshold,
        metrics.precision as precision_at_threshold,
        metrics.recall as recall_at_threshold,
        coalesce(counts.is_shadow, false) as is_shadow,
        metrics.as_of
    from metrics
    left join counts
        on
            metrics.prediction = counts.prediction
            and metrics.version = counts.version
            and metrics.as_of = counts.as_of
    inner join versions
        on metrics.prediction = versions.prediction and metrics.version = versions.version
    left join decay
        on
            metrics.prediction = decay.prediction
            and metrics.version = decay.version
            and metrics.as_of = decay.as_of
)

select * from judged
