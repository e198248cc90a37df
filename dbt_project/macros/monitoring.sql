{#
    From when on a feature counts as drifted, a mapping: psi, the population stability index; missing, how much the share of
    missing values has risen; unknown, the share of rows with a category that no training row had.

    given       bounds over those of the setting drift_bounds
#}
{% macro drift_bounds(given={}) %}
    {%- set bounds = {'psi': 0.2, 'missing': 0.1, 'unknown': 0.05} -%}
    {%- for some in [foretable.setting('drift_bounds'), given] -%}
        {%- for name, bound in some.items() if bound is not none -%}
            {%- if name not in bounds -%}
                {{ exceptions.raise_compiler_error(
                    "unknown bound '" ~ name ~ "' of drift_bounds; known: " ~ (bounds | join(', '))
                ) }}
            {%- elif bound is not number or bound is boolean -%}
                {{ exceptions.raise_compiler_error(
                    "the bound " ~ name ~ " of drift is " ~ (bound | tojson) ~ ", not a number; give one such as " ~ bounds[name]
                ) }}
            {%- endif -%}
            {%- do bounds.update({name: bound}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{- return(bounds) -}}
{% endmacro %}


{#
    What is beyond its bound in a row of foretable.drift, in words; empty where nothing is.

    drift       the name under which the row is read
    bounds      what drift_bounds returns
#}
{% macro drift_fault(drift, bounds) -%}
    concat_ws(
        ', ',
        case
            when {{ drift }}.psi > {{ bounds['psi'] }}
                then 'PSI ' || round({{ drift }}.psi, 3) || ' above {{ bounds['psi'] }}'
        end,
        case
            when {{ drift }}.missing_share_now - {{ drift }}.missing_share_then > {{ bounds['missing'] }}
                then 'missing ' || round({{ drift }}.missing_share_now, 3) || ' of the rows, before '
                || round({{ drift }}.missing_share_then, 3)
        end,
        case
            when {{ drift }}.unknown_share > {{ bounds['unknown'] }}
                then 'a category that no training row had in ' || round({{ drift }}.unknown_share, 3) || ' of the rows'
        end
    )
{%- endmacro %}


{# The condition that a row of the state is about what a test of a model is about: its prediction, or all of them. #}
{% macro is_of_prediction(relation, model, prediction) %}
    {%- if not execute -%}{{- return('true') -}}{%- endif -%}
    {%- set node = foretable.tested_node(model) -%}
    {%- if node.config.materialized == 'prediction' -%}
        {%- set prediction = node.alias.removeprefix('pred__') -%}
    {%- endif -%}
    {%- if not prediction -%}{{- return('true') -}}{%- endif -%}
    {{- return(relation ~ ".prediction = '" ~ (prediction | replace("'", "''")) ~ "'") -}}
{% endmacro %}


{#
    The rows of a table of the state that are of the newest snapshot of the version that serves, as a query, for a test.
    Models read dbt's sources; a test that did would not be selected by selectors, which are cautious: they take a test
    only with all that it reads.
#}
{% macro newest_of_serving(table, model, prediction) -%}
    select {{ table }}.*
    from foretable.{{ table }} as {{ table }}
    inner join foretable.active as active
        on {{ table }}.prediction = active.prediction and {{ table }}.version = active.version
    where {{ foretable.is_of_prediction(table, model, prediction) }}
    qualify {{ table }}.as_of = max({{ table }}.as_of) over (partition by {{ table }}.prediction)
{%- endmacro %}
