{#
    Tables that grow: a run adds what is new and replaces what it touches, and the outcome is the table that a full refresh
    would build. Two materializations share what is in this file:

    grown       rows. The model's SQL narrows itself down where `grows()` is true, and says with `replaces(…)` which rows of
                the table its result takes the place of.
    snapshots   whole snapshots, a batch of as_of at a time: see snapshots.sql.

    Every build of such a table is one row of foretable.builds, numbered through all tables, so that what a parent changed
    after a child's last build has a higher number than that build. A table is built anew where its SQL, a setting, a
    mapping above it, a macro, or the content of one of its `inputs` changed, or a table above it was built anew.

    config(materialized='grown', identity=[…], log=[…], inputs=[…])
    identity    the columns that tell whether two rows are the same, or 'all': only rows that differ are touched.
                Without it all replaced rows are deleted and written again
    log         columns that changes.<model> keeps of each row that came or went, for the tables that read this one
    inputs      names of small models whose whole content decides every row
#}
{% materialization grown, adapter='duckdb', supported_languages=['sql'] %}

    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set replaced = foretable.marked(sql, 'replaces') -%}
    {%- set identity = config.get('identity') -%}
    {%- set log = config.get('log', []) -%}
    {%- set changes = foretable.changes_of(model.name) -%}

    {{ run_hooks(pre_hooks) }}

    {% if replaced is none %}
        {% do foretable.drop_unlike_table(this) %}
        {%- set buckets = foretable.bucket_count(sql) -%}
        {% call statement('main') %}
            create or replace table {{ target_relation }} as (
                {{ foretable.one_bucket(sql, 0, buckets) }}
            );
            {% for bucket in range(1, buckets) %}
            insert into {{ target_relation }} by name (
                {{ foretable.one_bucket(sql, bucket, buckets) }}
            );
            {% endfor %}
            {% if log %}
            create or replace table {{ changes }} as
            select null::bigint as build_number, {{ log | join(', ') }} from {{ target_relation }} where false;
            {% endif %}
            {{ foretable.record_build(is_rebuilt=true, state=foretable.marked(sql, 'state')) }}
        {% endcall %}
    {% else %}
        {% call statement('new') %}
            create or replace temp table growth__new as ({{ sql }})
        {% endcall %}
        {%- set identity = foretable.columns_of_relation('growth__new') if identity == 'all' else identity -%}
        {% call statement('main') %}
            {% if identity %}
            create or replace temp table growth__old as
            select * from {{ target_relation }} where {{ replaced }};

            create or replace temp table growth__came as
            from growth__new select {{ identity | join(', ') }} except from growth__old select {{ identity | join(', ') }};
            create or replace temp table growth__gone as
            from growth__old select {{ identity | join(', ') }} except from growth__new select {{ identity | join(', ') }};

            {% if log %}
            create or replace temp table growth__build as select nextval('foretable.build_numbers') as build_number;
            insert into {{ changes }} by name
            select * from growth__build, (
                select {{ log | join(', ') }} from growth__old as events
                semi join growth__gone as touched on {{ foretable.is_same('events', 'touched', identity) }}
                union all
                select {{ log | join(', ') }} from growth__new as events
                semi join growth__came as touched on {{ foretable.is_same('events', 'touched', identity) }}
            );
            drop table growth__build;
            {% endif %}
            delete from {{ target_relation }} as events using growth__gone as touched
            where {{ foretable.is_same('events', 'touched', identity) }};
            insert into {{ target_relation }} by name
            select events.* from growth__new as events
            semi join growth__came as touched on {{ foretable.is_same('events', 'touched', identity) }};
            drop table growth__old;
            drop table growth__came;
            drop table growth__gone;
            {% else %}
            delete from {{ target_relation }} where {{ replaced }};
            insert into {{ target_relation }} by name select * from growth__new;
            {% endif %}
            drop table growth__new;
            {{ foretable.record_build(is_rebuilt=false, state=foretable.marked(sql, 'state')) }}
        {% endcall %}
    {% endif %}

    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %}
    {{ adapter.commit() }}
    {{ return({'relations': [target_relation]}) }}

{% endmaterialization %}


{# Does this model grow in this run? False where it has to be built anew. #}
{% macro grows() %}
    {%- if not execute or flags.FULL_REFRESH or not foretable.has_builds() -%}{{- return(false) -}}{%- endif -%}
    {%- set existing = load_relation(this) -%}
    {%- if existing is none or not existing.is_table -%}{{- return(false) -}}{%- endif -%}
    {%- set last = foretable.last_build() -%}
    {%- if last is none or last['fingerprint'] != foretable.fingerprint() -%}{{- return(false) -}}{%- endif -%}
    {%- set parents = foretable.tables_above(model) -%}
    {%- if not parents -%}{{- return(true) -}}{%- endif -%}
    {%- set rebuilt = run_query(
        "select count(*) from foretable.builds where is_rebuilt and build_number > " ~ last['build_number']
        ~ " and model in ('" ~ (parents | join("', '")) ~ "')"
    ).columns[0].values()[0] -%}
    {{- return(rebuilt == 0) -}}
{% endmacro %}


{# Marks the model's SQL: its rows take the place of those for which the predicate holds. #}
{% macro replaces(predicate) -%}
    /* replaces: {{ predicate }} :replaces */
{%- endmacro %}


{# Marks the model's SQL with a text that its next build wants to know. #}
{% macro keeps_state(text) -%}
    /* state: {{ text }} :state */
{%- endmacro %}


{% macro marked(sql, name) %}
    {%- set found = modules.re.search('/\* ' ~ name ~ ': (.*?) :' ~ name ~ ' \*/', sql, modules.re.DOTALL) -%}
    {{- return(found.group(1) if found else none) -}}
{% endmacro %}


{#
    The rows of a growing table that changed since this model's last build, as a query of the columns that the table logs.
    Only where grows() is true.
#}
{% macro changed_rows(name) -%}
    (select * from {{ foretable.changes_of(name) }} where build_number > {{ foretable.last_build()['build_number'] }})
{%- endmacro %}


{% macro changes_of(name) %}
    {{- return(api.Relation.create(database=target.database, schema='changes', identifier=name)) -}}
{% endmacro %}


{# State is made at the start of a run; `dbt compile` may come before any. #}
{% macro has_builds() %}
    {{- return(load_relation(
        api.Relation.create(database=target.database, schema='foretable', identifier='builds')
    ) is not none) -}}
{% endmacro %}


{# The last build of this model: build_number, fingerprint and state; none where there is none. #}
{% macro last_build() %}
    {%- set rows = run_query(
        "select build_number, fingerprint, state from foretable.builds where model = '" ~ model.name
        ~ "' order by build_number desc limit 1"
    ).rows -%}
    {{- return(rows[0] if rows else none) -}}
{% endmacro %}


{# What decides a table beside its rows: its SQL, macros, the settings, mappings and seeds above it, and the content of its inputs. #}
{% macro fingerprint() %}
    {%- set settings = {} -%}
    {%- for name in foretable.setting_defaults() if name not in foretable.settings_of_a_run() -%}
        {%- do settings.update({name: foretable.setting(name)}) -%}
    {%- endfor -%}
    {%- set parts = [model.raw_code, foretable.code_of_macros(), tojson(settings, sort_keys=true)] -%}
    {%- for parent in model.depends_on.nodes -%}
        {%- do parts.append(foretable.code_above(parent)) -%}
    {%- endfor -%}
    {%- for node in graph.nodes.values() if node.name in model.config.get('inputs', []) and node.resource_type == 'model' -%}
        {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
        {%- if relation is not none -%}
            {%- do parts.append(
                run_query('select count(*), bit_xor(hash(input)) from ' ~ relation ~ ' as input').rows[0].values() | join(' ')
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {{- return(local_md5(parts | join('\n'))) -}}
{% endmacro %}


{# The macros' hash, which the start of the run wrote down; empty where a table was never built with one. #}
{% macro code_of_macros() %}
    {%- set code = load_relation(api.Relation.create(database=target.database, schema='foretable', identifier='code')) -%}
    {{- return(run_query('select macros_hash from ' ~ code).columns[0].values()[0] if code is not none else '') -}}
{% endmacro %}


{#
    A hash of the macros that decide what tables hold, as a query: those of this package, and of the project that is run.
    dbt names the folder of a package nowhere but at its seeds.
#}
{% macro macros_hash() %}
    {%- set folders = [graph.nodes['seed.foretable.event_type_names'].root_path, invocation_args_dict.get('project_dir') or '.'] -%}
    {%- set undecisive = ['prediction', 'record_manifest', 'state', 'state_before', 'online', 'live'] -%}
    {%- set patterns = [] -%}
    {%- for folder in folders -%}
        {%- do patterns.append(foretable.glob_of(folder | string) ~ '/macros/**/*.sql') -%}
    {%- endfor -%}
    {%- set files = run_query(
        "select distinct file from glob(['" ~ (patterns | join("', '")) ~ "'])"
        ~ " where parse_filename(file, true) not in ('" ~ (undecisive | join("', '")) ~ "')"
    ).columns[0].values() -%}
    select md5(string_agg(md5(content), '' order by parse_filename(filename), md5(content))) as macros_hash
    from read_text({{ foretable.text_list(files) }})
{% endmacro %}


{# The SQL of views above a model, and the content of seeds: they have no build of their own. #}
{% macro code_above(node_id) %}
    {%- set node = graph.nodes.get(node_id) -%}
    {%- if node is none -%}{{- return('') -}}{%- endif -%}
    {%- if node.resource_type == 'seed' -%}{{- return(node.checksum.checksum) -}}{%- endif -%}
    {%- if node.resource_type != 'model' or node.config.materialized not in ['view', 'ephemeral'] -%}
        {{- return('') -}}
    {%- endif -%}
    {%- set parts = [node.raw_code] -%}
    {%- for parent in node.depends_on.nodes -%}
        {%- do parts.append(foretable.code_above(parent)) -%}
    {%- endfor -%}
    {{- return(parts | join('\n')) -}}
{% endmacro %}


{# The names of the growing tables that a model reads, through views and small tables too. #}
{% macro tables_above(node) %}
    {%- set names = [] -%}
    {%- for parent_id in node.depends_on.nodes -%}
        {%- set parent = graph.nodes.get(parent_id) -%}
        {%- if parent is not none and parent.resource_type == 'model' -%}
            {%- if parent.config.materialized in ['grown', 'snapshots'] -%}
                {%- do names.append(parent.name) -%}
            {%- else -%}
                {%- do names.extend(foretable.tables_above(parent)) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {{- return(names | unique | list) -}}
{% endmacro %}


{# Writes down that this model's table was built; inside the transaction that builds it. #}
{% macro record_build(is_rebuilt, state=none) -%}
    insert into foretable.builds by name
    select
        nextval('foretable.build_numbers') as build_number,
        '{{ model.name }}' as model,
        '{{ foretable.fingerprint() }}' as fingerprint,
        '{{ foretable.setting('as_of_mode') }}' as as_of_mode,
        {{ "'" ~ (state | replace("'", "''")) ~ "'" if state else 'null' }} as state,
        '{{ invocation_id }}' as run_id,
        {{ 'true' if is_rebuilt else 'false' }} as is_rebuilt,
        timestamp '{{ run_started_at.strftime('%Y-%m-%d %H:%M:%S') }}' as run_at
{%- endmacro %}


{# A view cannot be replaced by a table in one statement. #}
{% macro drop_unlike_table(relation) %}
    {%- set existing = load_relation(relation) -%}
    {%- if existing is not none and not existing.is_table -%}
        {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}
{% endmacro %}


{# Do two rows agree in these columns, NULL with NULL? #}
{% macro is_same(one, other, columns) -%}
    {% for column in columns -%}
        {{ one }}.{{ column }} is not distinct from {{ other }}.{{ column }}{{ ' and ' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{% macro columns_of_relation(relation) %}
    {%- set names = [] -%}
    {%- for row in run_query('describe ' ~ relation).rows -%}
        {%- do names.append(adapter.quote(row[0])) -%}
    {%- endfor -%}
    {{- return(names) -}}
{% endmacro %}


{#
    The place in a model's SQL that takes one part of the users at a time where a whole table is built, for what would
    need too much memory at once. As it stands it is true.
#}
{% macro in_bucket(column) -%}
    (true /* bucket: {{ column }} */)
{%- endmacro %}


{% macro one_bucket(sql, bucket, buckets) %}
    {{- return(modules.re.sub(
        '\(true /\* bucket: ([\w.]+) \*/\)', 'hash(\\1) % ' ~ buckets ~ ' = ' ~ bucket, sql
    )) -}}
{% endmacro %}


{# One bucket for every 4 million events. #}
{% macro bucket_count(sql) %}
    {%- if '/* bucket: ' not in sql -%}{{- return(1) -}}{%- endif -%}
    {%- set node = graph.nodes['model.foretable.int_events__imputed'] -%}
    {%- set events = run_query(
        'select count(*) from ' ~ adapter.get_relation(node.database, node.schema, node.alias)
    ).columns[0].values()[0] -%}
    {{- return(events // 4000000 + 1) -}}
{% endmacro %}
