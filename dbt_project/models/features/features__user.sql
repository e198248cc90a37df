-- One row a user and snapshot: what was known of the user at that instant, missing values filled and flagged.
with measured as (
    select * from {{ ref('int_users__measured') }}
),

medians as (
    select * from {{ ref('int_users__medians') }}
),

imputed as (
    select
        measured.* exclude (as_of) replace (
            {%- for column in imputed_columns() %}
            coalesce(measured.{{ column }}, medians.{{ column }}) as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        ),
        {%- for column in imputed_columns() %}
        measured.{{ column }} is null and medians.{{ column }} is not null as is_{{ column }}_imputed,
        {%- endfor %}
        measured.as_of
    from measured
    cross join medians
)

select * from imputed
