-- One row: the medians that fill missing features, fitted on the training snapshots only, and their range.
with measured as (
    select * from {{ ref('int_users__measured') }}
    where is_training
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
