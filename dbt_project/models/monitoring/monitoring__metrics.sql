-- How good each version was when it was judged, beside its baselines. A view: it is always current.
with metrics as (
    select * from {{ foretable.without_catalog(source('foretable', 'metrics')) }}
),

active as (
    select * from {{ foretable.without_catalog(source('foretable', 'active')) }}
),

-- A metric that is not defined on the rows at hand is NaN there, which few BI tools can draw.
judged as (
    select
        metrics.prediction,
        metrics.version,
        metrics.split,
        metrics.scored_by,
        metrics.metric,
        metrics.row_count,
        case when not isnan(metrics.value) then metrics.value end as metric_value,
        case when not isnan(metrics.lower) then metrics.lower end as metric_lower,
        case when not isnan(metrics.upper) then metrics.upper end as metric_upper,
        active.version is not null as is_active
    from metrics
    left join active
        on metrics.prediction = active.prediction and metrics.version = active.version
)

select * from judged
