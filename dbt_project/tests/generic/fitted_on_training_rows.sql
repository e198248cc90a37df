{#
    What was fitted stands on training snapshots alone: its range ends before the first snapshot that validates or tests,
    and, with `relation`, the statistics do not move when every row after the cut is replaced by an absurd one.

    model       has fitted_to; with `relation`, made by fitted_statistics()
    relation    the features that the statistics were fitted on, with as_of
    of          the model whose YAML holds the imputation block
#}
{% test fitted_on_training_rows(model, relation=none, of=none) %}
{%- set grid = ref('foretable', 'int_snapshots__grid') -%}
{%- set columns = foretable.fitted_columns(foretable.imputation_of(of, relation)) if relation is not none else [] -%}
with unseen as (
    select min(grid.as_of) as first_unseen
    from {{ grid }} as grid
    where not grid.is_training
),

out_of_range as (
    select 'the range reaches ' || fitted.fitted_to::varchar as fault
    from {{ model }} as fitted
    cross join unseen
    where fitted.fitted_to >= unseen.first_unseen
)
{%- if relation is not none %},
poisoned as (
    select
        measured.*{% if columns %} replace (
            {%- for column in columns %}
            case when measured.as_of < unseen.first_unseen then measured.{{ column }} else 1e9 end as {{ column }}
            {{- ',' if not loop.last }}
            {%- endfor %}
        ){% endif %}
    from {{ relation }} as measured
    cross join unseen
),

{{ foretable.fitted_statistics('poisoned', of) }},

moved as (
    select coalesce(fitted.feature, stored.feature) || ' ' || coalesce(fitted.statistic, stored.statistic) || ' moves' as fault
    from fitted
    full join (select * from {{ model }} where fitted_for = '{{ of }}') as stored
        on
            fitted.feature = stored.feature and fitted.statistic = stored.statistic
            and fitted.group_column is not distinct from stored.group_column
            and fitted.group_value is not distinct from stored.group_value
    where
        fitted.value is distinct from stored.value
        or fitted.row_count is distinct from stored.row_count
        or fitted.fitted_from is distinct from stored.fitted_from
        or fitted.fitted_to is distinct from stored.fitted_to
)
{%- endif %}

select * from out_of_range
{%- if relation is not none %}
union all
select * from moved
{%- endif %}
{% endtest %}
