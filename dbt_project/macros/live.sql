{#
    materialized='live': a table macro that computes a feature table's row of one entity from the raw events up to this
    moment, the very SQL of the models, narrowed to the entity. It reads nothing that a build has made of the log, but what
    is fitted or said of all users: fitted statistics, items, campaigns, reviews.

        select * from live_features('u000017')
        select * from live_features('u000017', at_instant := timestamp '2025-09-01')

    config(materialized='live', of='features__user', key='user_id', read_as_built=[…])
    of              the feature table; this model's name is the macro's
    read_as_built   models above it that are read as the last build left them
    without         columns that compare the entity with all others of the snapshot, which one entity's events cannot tell
#}
{% materialization live, adapter='duckdb', supported_languages=['sql'] %}

    {%- set as_built = config.require('read_as_built') -%}
    {%- set feature_table = foretable.model_named(config.require('of')) -%}
    {%- set chain = foretable.chain_of_models(['stg_events'], feature_table, as_built) -%}
    {%- set kept = {} -%}
    {%- for row in run_query('select model, sql from foretable.compiled').rows -%}
        {%- do kept.update({row[0]: row[1]}) -%}
    {%- endfor -%}
    {%- set missing = chain | map(attribute='name') | reject('in', kept) | list -%}
    {%- if missing -%}
        {{ exceptions.raise_compiler_error(
            "the SQL of " ~ (missing | join(', ')) ~ " is not known yet; build the tables above " ~ model.name
            ~ " first: dbt build --select +" ~ model.name ~ " --full-refresh"
        ) }}
    {%- endif -%}

    {{ run_hooks(pre_hooks) }}
    {% call statement('main') %}
        {{ foretable.live_macro(chain, kept, feature_table) }}
    {% endcall %}
    {{ run_hooks(post_hooks) }}
    {{ adapter.commit() }}
    {{ return({'relations': []}) }}

{% endmaterialization %}


{% macro live_macro(chain, kept, feature_table) %}
    {%- set raw_events = foretable.relation_of(foretable.model_named(foretable.setting('source') ~ '__events')) -%}
    create or replace macro {{ this }}(live_key, at_instant := null::timestamp) as table
    with live__raw as not materialized (
        select * from {{ raw_events }}
        where {{ foretable.text_of(config.require('key')) }} = live_key::varchar
    )
    {%- for node in chain %},

    live__{{ node.name }} as (
        {%- if node.name == 'int_snapshots__grid' %}
        {{ foretable.live_grid() }}
        {%- else %}
        {%- set sql = namespace(text=kept[node.name]) -%}
        {%- for other in chain -%}
            {%- set sql.text = sql.text | replace(foretable.relation_of(other), 'live__' ~ other.name) -%}
        {%- endfor %}
        {{ sql.text | replace(raw_events, 'live__raw') }}
        {%- endif %}
    )
    {%- endfor %}

    select * {{ 'exclude (' ~ (config.get('without') | join(', ')) ~ ')' if config.get('without') }}
    from live__{{ feature_table.name }}
{% endmacro %}


{# The one snapshot of a live row: the instant asked for, else the midnight after the newest event of the log. #}
{% macro live_grid() -%}
        select
            false as is_training,
            true as is_newest,
            false as is_backfilled,
            coalesce(
                date_trunc('day', at_instant),
                date_trunc('day', greatest(
                    (select max(occurred_at) from live__stg_events where rejection_reason is null),
                    (select max(grid.log_ends_at) from {{ foretable.without_catalog(foretable.grid()) }} as grid)
                )) + interval '1 day'
            ) as as_of,
            timestamp '9999-12-31' as log_ends_at
{%- endmacro %}


{#
    The models from some starts to a model, each after those it reads, the model last; without those in `as_built`, which
    are read as the last build left them.

    starts: names of the models that the chain begins with
#}
{% macro chain_of_models(starts, node, as_built) %}
    {%- set ordered, chain, ids = {}, [], ['none'] -%}
    {%- do foretable.visit(node, as_built, ordered) -%}
    {%- for node_id, above in ordered.items() -%}
        {%- if above.name in starts or above.depends_on.nodes | select('in', ids) | list -%}
            {%- do ids.append(node_id) -%}
            {%- do chain.append(above) -%}
        {%- endif -%}
    {%- endfor -%}
    {{- return(chain) -}}
{% endmacro %}


{% macro visit(node, as_built, ordered) %}
    {%- for parent_id in node.depends_on.nodes if parent_id not in ordered -%}
        {%- set parent = graph.nodes.get(parent_id) -%}
        {%- if parent is not none and parent.resource_type == 'model' and parent.name not in as_built -%}
            {%- do foretable.visit(parent, as_built, ordered) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do ordered.update({node.unique_id: node}) -%}
{% endmacro %}


{% macro model_named(name) %}
    {%- for node in graph.nodes.values() if node.name == name and node.resource_type == 'model' -%}
        {{- return(node) -}}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error("there is no model named '" ~ name ~ "'") }}
{% endmacro %}


{% macro relation_of(node) %}
    {{- return(foretable.without_catalog(node.relation_name)) -}}
{% endmacro %}


{# SQL whose names hold in a warehouse of any name. #}
{% macro without_catalog(sql) %}
    {{- return(sql | string | replace(adapter.quote(target.database) ~ '.', '')) -}}
{% endmacro %}


{# Keeps a model's SQL, as it computes all rows, for what is made of it; a post-hook of the models. #}
{% macro keep_sql() %}
    {%- if execute and '/* replaces: ' not in (model.compiled_code or '/* replaces: ') -%}
    delete from foretable.compiled where model = '{{ model.name }}';
    insert into foretable.compiled values ('{{ model.name }}', '{{ foretable.without_catalog(model.compiled_code) | replace("'", "''") }}')
    {%- endif -%}
{% endmacro %}
