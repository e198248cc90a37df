{#
    materialized='online': the rows of a feature table's newest snapshot, laid out for looking up one entity at a time.

    Plain columns are not compressed, since a compressed one unpacks a block for each row that is fetched (three times the
    time for 100 entities); DuckDB takes no such order for nested ones. The first column of the entity is indexed.
    config: entity, a column or a list of columns.
#}
{% materialization online, adapter='duckdb', supported_languages=['sql'] %}

    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_relation(this) -%}
    {%- set entity = config.require('entity') -%}
    {%- set keys = [entity] if entity is string else entity -%}

    {{ run_hooks(pre_hooks) }}

    {%- set columns = run_query('describe ' ~ sql).rows -%}
    {%- for key in keys if key not in columns | map(attribute='column_name') | list -%}
        {%- do exceptions.raise_compiler_error(
            "the SELECT has no column '" ~ key ~ "', which config(entity=…) names; it has: "
            ~ (columns | map(attribute='column_name') | join(', '))
        ) -%}
    {%- endfor -%}
    {%- if existing is not none and not existing.is_table -%}
        {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}

    {% call statement('main') %}
        create or replace table {{ target_relation }} (
            {%- for column in columns %}
            {{ adapter.quote(column['column_name']) }} {{ column['column_type'] }}
            {%- if '[' not in column['column_type'] and '(' not in column['column_type'] %} using compression uncompressed{% endif %}
            {{- ',' if not loop.last }}
            {%- endfor %}
        );

        insert into {{ target_relation }}
        {{ sql }};

        create {{ 'unique ' if keys | length == 1 }}index {{ adapter.quote('index__' ~ this.identifier) }}
        on {{ target_relation }} ({{ adapter.quote(keys[0]) }})
    {% endcall %}

    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %}
    {% do adapter.commit() %}
    {{ return({'relations': [target_relation]}) }}

{% endmaterialization %}


{# The SQL of an online table: the rows of the newest snapshot of `features`, a relation. #}
{% macro newest_snapshot(features) %}
    with features as (
        select * from {{ features }}
    ),

    newest as (
        select max(features.as_of) as as_of
        from features
    ),

    selected as (
        select features.*
        from features
        inner join newest
            on features.as_of = newest.as_of
    )

    select * from selected
{% endmacro %}
