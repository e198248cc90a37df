{#
    A label whose window reaches past the end of the log is NULL, never false, and all others are there. A test of the
    label's column; one row an as_of where it is not so, with its counts.

    horizon_days    length of the label's window; none: the model's lookahead_days
#}
{% test censored_labels(model, column_name, horizon_days=none) %}
{%- if not execute -%}
-- depends_on: {{ ref('foretable', 'int_snapshots__grid') }}
{{ return("select 'run it by dbt test' as fault") }}
{%- endif -%}
{%- set node = foretable.tested_node(model) -%}
{%- set days = horizon_days or node.config.get('lookahead_days') or node.config.get('horizon_days') -%}
{%- if not days -%}
    {{ exceptions.raise_compiler_error(
        "censored_labels: say how long the window of " ~ node.name ~ "." ~ column_name ~ " is: arguments: {horizon_days: 30}"
    ) }}
{%- endif -%}
with counts as (
    {{ foretable.label_counts(model, column_name, days) }}
),

faults as (
    select
        '{{ node.name }}: {{ column_name }} is ' || case
            when is_censored then 'known in ' || labelled_count || ' of ' || row_count || ' rows, and should be in none: the window'
            else 'NULL in ' || censored_count || ' of ' || row_count || ' rows, and should be in none: the window'
        end || ' of {{ days }} days from ' || as_of || ' on ends '
        || case when is_censored then 'after' else 'within' end || ' the log' as fault,
        *
    from counts
    where case when is_censored then labelled_count > 0 else censored_count > 0 end
)

select * from faults
order by as_of
{% endtest %}
