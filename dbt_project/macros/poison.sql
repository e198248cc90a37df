{#
    The log with absurd rows that become known at `cut` and after it, up to `until`: users, items, sessions and event ids that are there
    and others that are not, prices and quantities beyond measure, new versions of attributes, campaigns, reviews and,
    where snapshots see what was known, late rows and corrections of rows from before the cut. Staging tables by name,
    each as a query of its own columns.

    cut, until: instants as SQL. rows: how many events are added, about.
#}
{% macro poisons(cut, until, rows) %}
    {{- return({
        'stg_events': foretable.poisoned_events(cut, until, rows),
        'stg_reviews': foretable.poisoned_reviews(cut),
        'stg_users': foretable.poisoned_versions('stg_users', 'user_id', cut, {
            'region': "'poison'", 'city': "'poison'", 'gender': "'poison'", 'occupation': "'poison'",
            'income_band': "'poison'", 'birth_year': '1', 'registered_at': cut
        }),
        'stg_items': foretable.poisoned_versions('stg_items', 'item_id', cut, {
            'category_id': "'poison'", 'brand': "'poison'", 'price': '999999', 'listed_at': cut
        }),
        'stg_campaigns': foretable.poisoned_campaigns(cut),
    }) -}}
{% endmacro %}


{# Some values of a staging table's column, always the same ones, and `strangers` that are in no table, numbered. #}
{% macro some_of(model, column, number, strangers) -%}
    select
        {{ column }},
        row_number() over (order by md5({{ column }}), {{ column }}) as number
    from (
        select {{ column }} from (
            select distinct {{ column }} from {{ foretable.staged(model) }} where {{ column }} is not null
        )
        order by md5({{ column }}), {{ column }}
        limit {{ number }}
    )
    union all
    select
        'poison ' || stranger as {{ column }},
        {{ number }} + stranger as number
    from range(1, {{ strangers }} + 1) as strangers (stranger)
{%- endmacro %}


{% macro staged(name) %}
    {{- return(foretable.relation_of(foretable.model_named(name))) -}}
{% endmacro %}


{% macro poisoned_events(cut, until, rows) -%}
{%- set is_known_mode = foretable.setting('as_of_mode') == 'known' -%}
    with staged as (
        select * from {{ foretable.staged('stg_events') }}
    ),

    users as (
        {{ foretable.some_of('stg_events', 'user_id', 90, 10) }}
    ),

    items as (
        {{ foretable.some_of('stg_events', 'item_id', 30, 7) }}
    ),

    -- What each user did last before the cut, and before the last snapshot that is compared.
    last_events as (
        select
            user_id,
            {%- for column in ['session_id', 'item_id'] %}
            arg_max({{ column }}, (occurred_at, row_id)) filter (where occurred_at < {{ cut }}) as {{ column }}_before,
            arg_max({{ column }}, (occurred_at, row_id)) as {{ column }}_after,
            {%- endfor %}
        from staged
        where rejection_reason is null and occurred_at < {{ until }}
        group by user_id
    ),

    numbered as (
        select
            users.user_id,
            users.number,
            turns.turn,
            turns.turn % 2 = 1 as is_late_in_time,
            -- The first of each user lies at the cut itself, every other one in the hours before the last snapshot.
            case
                when turns.turn % 2 = 0 then {{ cut }} + to_minutes(29 * (turns.turn % 48))
                else greatest({{ until }} - to_minutes(13 * (turns.turn % 96)), {{ cut }})
            end as known_at
        from users
        cross join range({{ [rows // 100, 1] | max }}) as turns (turn)
    ),

    absurd as (
        select
            md5('poison ' || numbered.number || ' ' || numbered.turn)::uuid as row_id,
            'poison ' || numbered.number || ' ' || numbered.turn as event_id,
            numbered.user_id,
            case
                when numbered.turn % 5 = 4 then null
                when numbered.turn % 5 = 3 then 'poison ' || numbered.user_id
                when numbered.is_late_in_time then last_events.session_id_after
                else last_events.session_id_before
            end as session_id,
            {{ foretable.text_list(foretable.poison_event_types()) }}[
                ((numbered.number + numbered.turn) % {{ foretable.poison_event_types() | length }} + 1)::integer
            ] as event_type,
            case
                when numbered.turn % 3 > 0 then items.item_id
                when numbered.is_late_in_time then last_events.item_id_after
                else last_events.item_id_before
            end as item_id,
            'poison' as query,
            'poison' as channel,
            'poison' as device,
            'poison' as campaign_id,
            'poison' as order_id,
            999::double as quantity,
            999999::double as price,
            999999::double as duration_seconds,
            numbered.known_at,
            numbered.known_at
            {%- if is_known_mode %}
            - case when numbered.turn % 8 = 6 then to_days((numbered.turn % 40)::integer) else interval '0 days' end
            {%- endif %} as occurred_at
        from numbered
        left join last_events
            on numbered.user_id = last_events.user_id
        left join items
            on (numbered.number * 7 + numbered.turn) % 38 = items.number
    )

    select * from staged
    union all by name
    select
        * exclude (known_at),
        known_at as loaded_at
    from absurd
    {%- if is_known_mode %}
    union all by name
    (
        select * replace (
            md5('poisoned ' || row_id)::uuid as row_id,
            999999 as price,
            999 as quantity,
            {{ cut }} as loaded_at
        )
        from staged
        where
            rejection_reason is null
            and event_id is not null
            and greatest(occurred_at, coalesce(loaded_at, occurred_at)) < {{ cut }}
        -- Every other one has a copy, or is one, as long as there are any.
        order by
            row_number() over (
                partition by row_id in (
                    select unnest([row_id, winner_row_id]) from {{ foretable.staged('int_events__matched') }}
                )
                order by md5(row_id::varchar)
            ),
            md5(row_id::varchar)
        limit {{ [rows // 10, 1] | max }}
    )
    {%- endif %}
{%- endmacro %}


{% macro poison_event_types() %}
    {{- return(
        ['view', 'search', 'cart', 'remove', 'favourite', 'purchase', 'return', 'click', 'impression', 'share', 'register']
    ) -}}
{% endmacro %}


{% macro poisoned_reviews(cut) -%}
    with users as (
        {{ foretable.some_of('stg_events', 'user_id', 40, 5) }}
    ),

    items as (
        {{ foretable.some_of('stg_events', 'item_id', 40, 5) }}
    )

    select * from {{ foretable.staged('stg_reviews') }}
    union all by name
    select
        md5('poison ' || users.number || ' ' || turns.turn)::uuid as row_id,
        'poison ' || users.number || ' ' || turns.turn as review_id,
        users.user_id,
        items.item_id,
        'absurd, awful, horrible ' || turns.turn as body,
        {{ foretable.setting('max_rating') }}::double * (turns.turn % 2) as rating,
        {{ cut }} + to_hours(turns.turn::integer) as created_at
    from users
    cross join range(5) as turns (turn)
    inner join items
        on (users.number + turns.turn) % 45 + 1 = items.number
{%- endmacro %}


{# Versions that are valid from the cut on: of some keys that are there and of some that are not. #}
{% macro poisoned_versions(name, key, cut, columns) -%}
    select * from {{ foretable.staged(name) }}
    union all by name
    select
        keyed.{{ key }},
        {%- for column, value in columns.items() %}
        {{ value }} as {{ column }},
        {%- endfor %}
        {{ cut }} as valid_from
    from (
        {{ foretable.some_of('stg_events', key, 50, 7) }}
    ) as keyed
{%- endmacro %}


{% macro poisoned_campaigns(cut) -%}
    select * from {{ foretable.staged('stg_campaigns') }}
    union all by name
    select
        'poison ' || kinds.kind as campaign_id,
        kinds.kind,
        0.99::double as discount,
        {{ cut }} as known_from,
        {{ cut }} + days.starts_in * interval '1 day' as starts_at,
        {{ cut }} + days.starts_in * interval '1 day' + interval '9 days' as ends_at
    from (values ('holiday'), ('promotion'), ('ad')) as kinds (kind)
    cross join (values (-3), (1)) as days (starts_in)
{%- endmacro %}


{% macro staging_names() %}
    {{- return(['stg_events', 'stg_reviews', 'stg_users', 'stg_items', 'stg_campaigns']) -}}
{% endmacro %}


{#
    The CTEs of a chain of models, each named <prefix>__<model>, with the SQL that the warehouse keeps of it, narrowed to some
    snapshots.

    kept: {model: SQL}. given: {staging table: query}; without one the table is read as it is. instants: SQL literals;
    none: all.
#}
{% macro chain_ctes(chain, prefix, kept, given, instants=none) -%}
{%- for node in chain %}
{%- if node.name in given %}
{{ prefix }}__{{ node.name }} as materialized (
    {{ given[node.name] }}
)
{%- elif node.name in foretable.staging_names() %}
{{ prefix }}__{{ node.name }} as not materialized (
    select * from {{ foretable.relation_of(node) }}
)
{%- else %}
{%- set sql = namespace(text=kept[node.name]) -%}
{%- for other in chain -%}
    {%- set sql.text = sql.text | replace(foretable.relation_of(other), prefix ~ '__' ~ other.name) -%}
{%- endfor %}
{{ prefix }}__{{ node.name }} as (
    {{ foretable.narrowed_to(sql.text, instants) if instants else sql.text }}
)
{%- endif %}
{{- ',\n' if not loop.last }}
{%- endfor %}
{%- endmacro %}


{# Is one SQL literal of an instant no later than another? #}
{% macro is_up_to(one, other) %}
    {{- return(run_query("select " ~ one ~ " <= " ~ other).columns[0].values()[0]) -}}
{% endmacro %}


{# The SQL of a chain's models as the warehouse keeps it; an error that says what to do where it keeps none of one. #}
{% macro kept_sql(chain) %}
    {%- set kept = {} -%}
    {%- if foretable.has_builds() -%}
        {%- for row in run_query('select model, sql from foretable.compiled').rows -%}
            {%- do kept.update({row[0]: row[1]}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for node in chain if node.name not in foretable.staging_names() -%}
        {%- if node.config.materialized == 'incremental' or node.language == 'python' -%}
            {{ exceptions.raise_compiler_error(
                node.name ~ " is " ~ (node.language if node.language == 'python' else 'incremental')
                ~ ", and no SQL says how all of it is computed; make it a table, a view or materialized='snapshots'"
            ) }}
        {%- elif node.name not in kept -%}
            {{ exceptions.raise_compiler_error(
                "the SQL of " ~ node.name ~ " is not known. Give it the post-hook {{ foretable.keep_sql() }} (+post-hook in "
                ~ "dbt_project.yml or config(post_hook=…)) and build it: dbt build --select " ~ node.name ~ " --full-refresh"
            ) }}
        {%- endif -%}
    {%- endfor -%}
    {{- return(kept) -}}
{% endmacro %}


{# The node of the model that a generic test stands on. #}
{% macro tested_node(relation) %}
    {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.relation_name == relation | string -%}
        {{- return(node) -}}
    {%- endfor -%}
    {{ exceptions.raise_compiler_error(relation ~ " is no model; this test stands on a model and takes no `where`") }}
{% endmacro %}


{# What no row of a column of this type would hold; a list, an instant and whatever else is NULL. #}
{% macro absurd_value(column, type) -%}
    {%- if type == 'BOOLEAN' -%} not coalesce({{ column }}, false)
    {%- elif type == 'VARCHAR' -%} 'poison'
    {%- elif type.endswith('INT') or type.endswith('INTEGER') or type.startswith('DECIMAL') or type in ['DOUBLE', 'FLOAT'] -%}
    coalesce(try_cast(999999 as {{ type }}), try_cast(99 as {{ type }}))
    {%- else -%} null::{{ type }}
    {%- endif -%}
{%- endmacro %}
