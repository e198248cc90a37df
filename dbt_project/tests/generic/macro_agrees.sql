{#
    The functions in the file say what the serving version says: scores.<name> is compared with the trained model on rows
    made to find faults and on rows of the last build, as it was before it was published. Every bit of trees, 1e-5 of a
    network's or an ensemble's probability. On a prediction whose model is compiled to SQL; it needs the plugin.

    rows    how many rows of the last build are compared, by a sample that is the same each time
#}
{% test macro_agrees(model, rows=2000) %}
{%- if not execute or flags.WHICH in ['compile', 'generate'] -%}
{{ return("select 'run it by dbt test' as fault") }}
{%- endif -%}
{%- set node = foretable.tested_node(model) -%}
{%- if node.config.materialized != 'prediction' -%}
    {{ exceptions.raise_compiler_error("macro_agrees: " ~ node.name ~ " is no prediction") }}
{%- endif -%}
{%- set request = {'prediction': node.alias.removeprefix('pred__'), 'rows': rows} -%}
select '{{ node.name }}: ' || fault as fault
from (
    select unnest(foretable_macro_agrees('{{ tojson(request) | replace("'", "''") }}')) as fault
)
{% endtest %}
