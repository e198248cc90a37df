-- One row: the medians that fill missing features, fitted on the training snapshots only, and their range.
{{ config(materialized='table') }}
with measured as (
    select measured.*
    from {{ ref('int_users__measured') }} as measured
    inner join {{ ref('int_snapshots__grid') }} as grid
        on measured.as_of = grid.as_of
    where grid.is_training
),

medians as (
    select
        {%- for column in imputed_columns() %}
        median(measured.{{ column }}) as {{ column }},
        {%- endfor %}
        count(*) as row_count,
        min(measured.as_of) as fitted_from,
        max(measured.as_of) as fitted_to
    from measured
)

select * from medians
