{#
    materialized='prediction': the model's SELECT gives the examples; they are trained on when something changed, and the
    rows of the newest as_of are scored into a table named as the model.

    The Python part runs on this connection and changes nothing until all has gone well. What it finds wrong comes back as
    a sentence in a temporary table, so that dbt shows the sentence and no traceback.
#}
{% materialization prediction, adapter='duckdb', supported_languages=['sql'] %}

    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set name = this.identifier.removeprefix('pred__') -%}
    {%- set examples = foretable.examples_of(model) -%}
    {%- set building = api.Relation.create(
        database=this.database, schema=this.schema, identifier='examples__' ~ name ~ '__building', type='table') -%}

    {{ run_hooks(pre_hooks) }}

    {# A view of this connection alone: where its rows are those of before, nothing need be written. #}
    {%- set select = adapter.quote('examples__' ~ name ~ '__select') -%}
    {% call statement('examples') %}
        create or replace temp view {{ select }} as (
            {{ sql }}
        )
    {% endcall %}

    {%- set request = {
        'name': name,
        'config': foretable.prediction_config(model),
        'train': 'always' if flags.FULL_REFRESH and var('train', 'when_changed') == 'when_changed'
            else var('train', 'when_changed'),
        'promote': var('promote', none),
        'is_plan': var('plan', false),
        'folds': var('folds', none),
        'sql': sql,
        'database': adapter.quote(this.database),
        'select': 'temp.main.' ~ select,
        'building': building | string,
        'examples': examples | string,
        'examples_identifier': examples.identifier,
        'target': target_relation | string,
        'truth_schema': this.schema,
        'run_id': invocation_id,
        'run_at': run_started_at.strftime('%Y-%m-%d %H:%M:%S'),
        'source': foretable.setting('source'),
        'unversioned': foretable.unversioned_columns(model),
        'contract': foretable.promised_columns(model),
    } -%}

    {% call statement('main', language='python') %}
import json
import udfs.prediction


def model(dbt, session):
    return udfs.prediction.build(session, json.loads({{ foretable.python_literal(tojson(request)) }}))


def materialize(df, con):
    """The table is written by build, in one transaction with the registry."""


class dbtObj:
    def __init__(self, load_df_function):
        pass
    {% endcall %}

    {%- set outcome = run_query('select message from temp.main.foretable_outcome').columns[0].values() -%}
    {%- if outcome[0] -%}
        {{ exceptions.raise_compiler_error(outcome[0]) }}
    {%- endif -%}

    {% if request['is_plan'] or request['folds'] is not none %}
        {{ adapter.commit() }}
        {{ return({'relations': []}) }}
    {% endif %}
    {% call statement('kept') %}
        {{ foretable.keep_sql() }}
    {% endcall %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {{ return({'relations': [target_relation]}) }}

{% endmaterialization %}


{# The table of the rows that a prediction's SELECT returned. #}
{% macro examples_of(node) %}
    {{- return(api.Relation.create(
        database=node.database, schema=node.schema, identifier='examples__' ~ node.alias.removeprefix('pred__'),
        type='table'
    )) -}}
{% endmacro %}


{# The columns of an enforced contract with their types; none where nothing is promised. #}
{% macro promised_columns(node) %}
    {%- set promised = {} -%}
    {%- if node.config.get('contract').enforced -%}
        {%- for name, column in node.columns.items() -%}
            {%- do promised.update({name: column.data_type}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{- return(promised) -}}
{% endmacro %}


{# What the model's config() says beside what dbt itself reads there. #}
{% macro prediction_config(node) %}
    {%- set of_dbt = [
        'enabled', 'alias', 'schema', 'database', 'tags', 'meta', 'group', 'materialized', 'incremental_strategy',
        'batch_size', 'lookback', 'begin', 'persist_docs', 'post-hook', 'pre-hook', 'quoting', 'column_types',
        'full_refresh', 'unique_key', 'on_schema_change', 'on_configuration_change', 'grants', 'packages', 'docs',
        'contract', 'event_time', 'concurrent_batches', 'access', 'freshness', 'static_analysis',
    ] -%}
    {%- set kept = {} -%}
    {%- for key, value in node.config.items() if key not in of_dbt -%}
        {%- do kept.update({key: value}) -%}
    {%- endfor -%}
    {{- return(kept) -}}
{% endmacro %}


{# A Python string literal: JSON's own escapes are also Python's. #}
{% macro python_literal(text) -%}
    {{ tojson(text) }}
{%- endmacro %}
