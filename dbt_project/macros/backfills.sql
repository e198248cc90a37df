{# The ranges of snapshots that were asked for beside the grid's own: pairs of instants. See `foretable backfill`. #}
{% macro backfills() %}
    {%- if not execute or not foretable.has_builds() -%}{{- return([]) -}}{%- endif -%}
    {%- set ranges = [] -%}
    {%- for row in run_query(
        'select distinct first_as_of::varchar, last_as_of::varchar from foretable.backfills order by all'
    ).rows -%}
        {%- do ranges.append([row[0], row[1]]) -%}
    {%- endfor -%}
    {{- return(ranges) -}}
{% endmacro %}
