{#
    The columns that a model takes, through whatever stands above it, from attributes of which the source keeps only the
    present: a value that changed after as_of would tell the future. A column says where it is from in its YAML:

        - name: region
          config: {meta: {attribute_of: users}}

    Whether a source keeps history is in attributes__history.
#}
{% macro unversioned_columns(node) %}
    {%- set above = [node.unique_id] -%}
    {%- set columns = {} -%}
    {%- for unique_id in above -%}
        {%- set one = graph.nodes.get(unique_id) -%}
        {%- if one is not none -%}
            {%- for name, column in one.columns.items() if foretable.attribute_of(column) -%}
                {%- do columns.update({name: foretable.attribute_of(column)}) -%}
            {%- endfor -%}
            {%- for parent in one.depends_on.nodes if parent not in above -%}{%- do above.append(parent) -%}{%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not columns -%}{{- return([]) -}}{%- endif -%}
    {%- set without = foretable.tables_without_history() -%}
    {%- set unversioned = [] -%}
    {%- for name, table in columns.items() if table in without -%}{%- do unversioned.append(name) -%}{%- endfor -%}
    {{- return(unversioned) -}}
{% endmacro %}


{# The table whose attribute a column shows, as the column's YAML says; none where it shows none. #}
{% macro attribute_of(column) %}
    {%- set config = column.get('config') or {} -%}
    {{- return((column.get('meta') or {}).get('attribute_of') or (config.get('meta') or {}).get('attribute_of')) -}}
{% endmacro %}


{# The tables of attributes that show only the present. #}
{% macro tables_without_history() %}
    {%- set node = graph.nodes['model.foretable.attributes__history'] -%}
    {%- set history = load_relation(
        api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)
    ) -%}
    {%- if history is none -%}
        {{ exceptions.raise_compiler_error(
            "attributes__history is not built, so that nobody knows which attributes may tell the future; "
            ~ "build it first: dbt build --select +attributes__history"
        ) }}
    {%- endif -%}
    {{- return(run_query('select source_table from ' ~ history ~ ' where not has_history').columns[0].values() | list) -}}
{% endmacro %}


{# A column's meta, with has_history where it shows an attribute and it is known whether the source keeps history. #}
{% macro meta_of_column(column) %}
    {%- set meta = dict(column.get('meta') or {}, **((column.get('config') or {}).get('meta') or {})) -%}
    {%- set node = graph.nodes.get('model.foretable.attributes__history') -%}
    {%- if meta.get('attribute_of') and node is not none and load_relation(
        api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)
    ) is not none -%}
        {%- do meta.update({'has_history': meta['attribute_of'] not in foretable.tables_without_history()}) -%}
    {%- endif -%}
    {{- return(meta) -}}
{% endmacro %}
