-- How far a scored snapshot has moved, with the bounds of the setting drift_bounds. A view: it is always current.
{%- set bounds = foretable.drift_bounds() %}
with drift as (
    select * from {{ foretable.without_catalog(source('foretable', 'drift')) }}
),

active as (
    select * from {{ foretable.without_catalog(source('foretable', 'active')) }}
),

bounded as (
    select
        drift.prediction,
        drift.version,
        drift.feature,
        drift.psi,
        {{ bounds['psi'] }}::double as psi_bound,
        drift.ks,
        drift.missing_share_then,
        drift.missing_share_now,
        {{ bounds['missing'] }}::double as missing_bound,
        drift.unknown_share,
        {{ bounds['unknown'] }}::double as unknown_bound,
        {{ foretable.drift_fault('drift', bounds) }} <> '' as is_drifted,
        active.version is not null and drift.as_of = max(drift.as_of) over (
            partition by drift.prediction, drift.version
        ) as is_newest,
        drift.as_of,
        drift.measured_at
    from drift
    left join active
        on drift.prediction = active.prediction and drift.version = active.version
)

select * from bounded
