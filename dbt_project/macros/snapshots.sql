{#
    materialized='snapshots': a table with one block of rows for each as_of of the snapshot grid.

    A run builds the snapshots that the table lacks and those that new rows of the log reach, in batches that keep memory
    bounded. Snapshots that left the grid are deleted, all others are left alone. The model's SQL names the relation whose
    as_of is to be narrowed:

        from {{ ref('int_users__snapshots') }} as snapshots
        where {{ due('snapshots') }} and {{ in_bucket('snapshots.user_id') }}

    With in_bucket() at each table of users that it reads, a batch is one part of the users at all snapshots, so that a
    user's rows are read once. Without it a batch is some snapshots of all users.

    config(materialized='snapshots', lookahead_days=0)
    lookahead_days  how far after as_of the model looks, for labels: so many days of snapshots are built again
#}
{% materialization snapshots, adapter='duckdb', supported_languages=['sql'] %}

    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set building = api.Relation.create(
        database=this.database, schema=this.schema, identifier=this.identifier ~ '__building', type='table') -%}
    {%- set is_grown = foretable.grows() -%}
    {%- set written = target_relation if is_grown else building -%}

    {{ run_hooks(pre_hooks) }}

    {% if is_grown %}
        {%- set due = foretable.due_snapshots(target_relation, config.get('lookahead_days', 0)) -%}
        {% call statement('off_grid') %}
            delete from {{ target_relation }} where as_of not in (select as_of from {{ foretable.grid() }})
        {% endcall %}
    {% else %}
        {%- set due = foretable.all_snapshots() -%}
        {% do foretable.drop_unlike_table(this) %}
        {% call statement('empty') %}
            create or replace table {{ building }}
            {%- if config.get('contract').enforced %}
            {{ get_assert_columns_equivalent(sql) }}
            {%- endif %}
            as select * from ({{ sql }}) limit 0
        {% endcall %}
    {% endif %}
    {{ adapter.commit() }}

    {%- set rows_at_once = foretable.rows_at_once(building if not is_grown else target_relation) -%}
    {%- set users = foretable.user_count() -%}
    {%- set is_bucketed = '/* bucket: ' in sql -%}
    {% for batch in due | batch(foretable.snapshots_per_batch(users, rows_at_once, is_bucketed)) %}
        {%- set buckets = foretable.buckets_of_batch(users, rows_at_once, batch | length) if is_bucketed else 1 -%}
        {%- set narrowed = foretable.narrowed_to(sql, batch) -%}
        {% call statement('batch') %}
            {% if is_grown %}
            delete from {{ written }} where as_of in ({{ batch | join(', ') }});
            {% endif %}
            {% for bucket in range(buckets) %}
            insert into {{ written }} by name
            {{ foretable.one_bucket(narrowed, bucket, buckets) }};
            {% endfor %}
        {% endcall %}
        {{ adapter.commit() }}
    {% endfor %}

    {% call statement('main') %}
        {% if not is_grown %}
        drop table if exists {{ target_relation }};
        alter table {{ building }} rename to {{ adapter.quote(this.identifier) }};
        {% endif %}
        {{ foretable.record_build(is_rebuilt=not is_grown, state=foretable.log_ends_at()) }}
    {% endcall %}

    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {{ return({'relations': [target_relation]}) }}

{% endmaterialization %}


{# The place in a model's SQL that a batch narrows down. As it stands it is true: the compiled SQL gives all snapshots. #}
{% macro due(snapshots) -%}
    {%- do ref('foretable', 'int_snapshots__grid') -%}
    ({{ snapshots }}.as_of is not null /* due */)
{%- endmacro %}


{% macro narrowed_to(sql, batch) %}
    {{- return(modules.re.sub(
        '\((\w+\.as_of) is not null /\* due \*/\)', '\\1 in (' ~ (batch | join(', ')) ~ ')', sql
    )) -}}
{% endmacro %}


{% macro grid() %}
    {%- set node = graph.nodes['model.foretable.int_snapshots__grid'] -%}
    {{- return(api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)) -}}
{% endmacro %}


{% macro log_ends_at() %}
    {{- return(run_query('select any_value(log_ends_at)::varchar from ' ~ foretable.grid()).columns[0].values()[0]) -}}
{% endmacro %}


{% macro all_snapshots() %}
    {{- return(foretable.instants("select as_of from " ~ foretable.grid())) -}}
{% endmacro %}


{# The grid's snapshots as one text of SQL literals, for a model that keeps which of them it has looked at. #}
{% macro instants_of_grid() %}
    {{- return(foretable.all_snapshots() | join(', ') if execute and load_relation(foretable.grid()) is not none else '') -}}
{% endmacro %}


{#
    The snapshots to build in a table that grows: those it lacks, and those that see a row which changed since its last
    build. A row with effective_on on a day is seen by every as_of after that day.
#}
{% macro due_snapshots(relation, lookahead_days) %}
    {%- set last = foretable.last_build() -%}
    {%- set changes = ["select null::date as effective_on, null::date as occurred_on where false"] -%}
    {%- for name in foretable.logs_above(model) -%}
        {%- do changes.append(
            "select effective_on, occurred_on from " ~ foretable.changes_of(name)
            ~ " where build_number > " ~ last['build_number']
        ) -%}
    {%- endfor -%}
    {%- set query -%}
        with changed as (
            select min(effective_on) as effective_on, min(occurred_on) as occurred_on
            from ({{ changes | join(' union all ') }})
        )
        select as_of
        from {{ foretable.grid() }}
        cross join changed
        where
            as_of not in (select distinct as_of from {{ relation }})
            or as_of > changed.effective_on
            {%- if lookahead_days %}
            or as_of + interval '{{ lookahead_days }} days' > changed.occurred_on
            or (
                as_of + interval '{{ lookahead_days }} days' > timestamp '{{ last['state'] }}'
                and log_ends_at <> timestamp '{{ last['state'] }}'
            )
            {%- endif %}
    {%- endset -%}
    {{- return(foretable.instants(query)) -}}
{% endmacro %}


{# The growing tables above a model that log what changed, at any distance. #}
{% macro logs_above(node) %}
    {%- set names = [] -%}
    {%- for parent_id in node.depends_on.nodes -%}
        {%- set parent = graph.nodes.get(parent_id) -%}
        {%- if parent is not none and parent.resource_type == 'model' -%}
            {%- if 'effective_on' in (parent.config.get('log', []) | join(' ')) -%}
                {%- do names.append(parent.name) -%}
            {%- else -%}
                {%- do names.extend(foretable.logs_above(parent)) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {{- return(names | unique | list) -}}
{% endmacro %}


{# Instants as SQL literals, oldest first. #}
{% macro instants(query) %}
    {%- set literals = [] -%}
    {%- for instant in run_query('select as_of::varchar from (' ~ query ~ ') order by as_of').columns[0].values() -%}
        {%- do literals.append("timestamp '" ~ instant ~ "'") -%}
    {%- endfor -%}
    {{- return(literals) -}}
{% endmacro %}


{# Users times snapshots that are computed at once: as many as the setting says of a table of 100 columns. #}
{% macro rows_at_once(relation) %}
    {%- set columns = adapter.get_columns_in_relation(relation) | length -%}
    {{- return([foretable.setting('batch_rows') * 100 // ([columns, 100] | max), 1] | max) -}}
{% endmacro %}


{# About how many users there are; 1 before any are known. DuckDB's catalog has what is committed, dbt's cache more than that. #}
{% macro user_count() %}
    {%- set node = graph.nodes['model.foretable.int_users__first_seen'] -%}
    {%- set found -%}
        select coalesce(max(estimated_size), 1) as user_count
        from duckdb_tables()
        where database_name = '{{ node.database }}' and schema_name = '{{ node.schema }}' and table_name = '{{ node.alias }}'
    {%- endset -%}
    {{- return(run_query(found).columns[0].values()[0]) -}}
{% endmacro %}


{# What is built in parts of the users takes more snapshots at once, but so few parts that an interruption costs little. #}
{% macro snapshots_per_batch(users, rows_at_once, is_bucketed) %}
    {%- set most_buckets = 20 if is_bucketed else 1 -%}
    {{- return([most_buckets * rows_at_once // ([users, 1] | max), 1] | max) -}}
{% endmacro %}


{# A part has a thousand users at least: each reads the tables once. #}
{% macro buckets_of_batch(users, rows_at_once, snapshot_count) %}
    {%- set wanted = (users * snapshot_count + rows_at_once - 1) // rows_at_once -%}
    {{- return([[wanted, users // 1000] | min, 1] | max) -}}
{% endmacro %}
