{#
    What was fitted stands on training snapshots alone: its range ends before the first snapshot that validates or tests,
    and, with `relation`, no row of it moves when every row after the cut is replaced by an absurd one and doubled. The
    model's own SQL is run again for that, whoever wrote it. One row a fault.

    model       has fitted_to, and keeps its SQL by the post-hook foretable.keep_sql()
    relation    the features that it was fitted on, with as_of
#}
{% test fitted_on_training_rows(model, relation=none) %}
{%- if not execute or flags.WHICH in ['compile', 'generate'] -%}
{{ return("select 'run it by dbt test' as fault") }}
{%- endif -%}
{%- set node = foretable.tested_node(model) -%}
with unseen as (
    select min(grid.as_of) as first_unseen
    from {{ foretable.grid() }} as grid
    where not grid.is_training
),

out_of_range as (
    select distinct
        '{{ node.name }}: its range reaches ' || fitted.fitted_to || ', and from ' || unseen.first_unseen
        || ' on snapshots validate and test' as fault
    from {{ model }} as fitted
    cross join unseen
    where fitted.fitted_to >= unseen.first_unseen
)
{%- if relation is not none %},
{%- set columns = foretable.columns_of_relation(model) | join(', ') %}
{%- set fitted_on = foretable.without_catalog(relation) %}
{%- set sql = foretable.kept_sql([node])[node.name] %}
{%- if fitted_on not in sql -%}
    {{ exceptions.raise_compiler_error("fitted_on_training_rows: " ~ node.name ~ " does not read " ~ fitted_on) }}
{%- endif %}

late as (
    select
        {%- for row in run_query('describe ' ~ relation).rows if row[0] | lower != 'as_of' %}
        {{ foretable.absurd_value(adapter.quote(row[0]), row[1]) }} as {{ adapter.quote(row[0]) }},
        {%- endfor %}
        measured.as_of
    from {{ relation }} as measured
    cross join unseen
    where measured.as_of >= unseen.first_unseen
),

poisoned_relation as (
    select measured.*
    from {{ relation }} as measured
    cross join unseen
    where measured.as_of < unseen.first_unseen
    union all by name
    select * from late
    union all by name
    select * from late
),

fitted_again as (
    {{ sql | replace(fitted_on, 'poisoned_relation') }}
),

gone as (
    select {{ columns }} from {{ model }}
    except all
    select {{ columns }} from fitted_again
),

moved as (
    select '{{ node.name }}: moves with what comes after the cut: ' || gone::varchar as fault
    from gone
    union all
    select '{{ node.name }}: nothing was tried, no row lies after the cut' as fault
    where not exists (select 1 from late) and exists (select 1 from {{ relation }})
    union all
    select '{{ node.name }}: has ' || (select count(*) from {{ model }}) || ' rows, and '
        || (select count(*) from fitted_again) || ' with what comes after the cut' as fault
    where (select count(*) from {{ model }}) <> (select count(*) from fitted_again)
)
{%- endif %}

select * from out_of_range
{%- if relation is not none %}
union all
select * from moved
{%- endif %}
{% endtest %}
