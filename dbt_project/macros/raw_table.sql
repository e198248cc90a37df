{#
    The SELECT that reads one contract table as it lies: a relation of `raw_schema`, or files of the data folder named
    <table>.parquet, .csv, .csv.gz, .jsonl, .ndjson or .jsonl.gz, or any number of them in a folder <table>/.

    Text formats are read as text, so that no cast can fail. A line that is no CSV or no JSON becomes a row with only
    rejection_reason and raw_text. An optional table that is not there is a row-less SELECT.
#}
{% macro raw_table(table) %}
    {%- if not execute -%}
        {{- return('select null as ' ~ foretable.contract_columns(table)[0]) -}}
    {%- endif -%}
    {%- if foretable.setting('raw_schema') -%}
        {{- return(foretable.raw_relation(table)) -}}
    {%- endif -%}
    {%- set files = foretable.raw_files(table) -%}
    {%- if not files -%}
        {{- return(foretable.no_raw_table(table, "folder '" ~ foretable.setting('data') ~ "'",
            table ~ '.parquet, .csv, .csv.gz or .jsonl; name the folder with FORETABLE_DATA or --vars \'{data: FOLDER}\'')) -}}
    {%- endif -%}
    {%- if files[0].endswith('.parquet') -%}
        {{- return(foretable.raw_parquet(table, files)) -}}
    {%- endif -%}
    {{- return(foretable.raw_text_files(table, files)) -}}
{% endmacro %}


{# The files of a table in the order of the formats tried; the first format found is taken. #}
{% macro raw_files(table) %}
    {%- set folder = foretable.glob_of(foretable.setting('data').rstrip('/')) -%}
    {%- for ending in ['parquet', 'csv', 'csv.gz', 'jsonl', 'ndjson', 'jsonl.gz'] -%}
        {%- set found = run_query(
            "select file from glob(['" ~ folder ~ "/" ~ table ~ "." ~ ending ~ "', '"
            ~ folder ~ "/" ~ table ~ "/*." ~ ending ~ "']) order by file"
        ).columns[0].values() -%}
        {%- if found -%}{{- return(found | list) -}}{%- endif -%}
    {%- endfor -%}
    {{- return([]) -}}
{% endmacro %}


{# A path as a pattern that means this path alone, for a literal of SQL: a folder's name may hold [, * and ?. #}
{% macro glob_of(path) %}
    {{- return(modules.re.sub('([\\[*?])', '[\\1]', path) | replace("'", "''")) -}}
{% endmacro %}


{% macro raw_relation(table) %}
    {%- set relation = adapter.get_relation(target.database, foretable.setting('raw_schema'), table) -%}
    {%- if relation is none -%}
        {{- return(foretable.no_raw_table(table, "schema '" ~ foretable.setting('raw_schema') ~ "'",
            "a table or view named '" ~ table ~ "'")) -}}
    {%- endif -%}
    {{- return(foretable.checked_rows(table, 'select * from ' ~ relation, relation)) -}}
{% endmacro %}


{% macro no_raw_table(table, place, expected) %}
    {%- if table == 'events' -%}
        {{ exceptions.raise_compiler_error(place ~ " holds no table 'events'; expected " ~ expected) }}
    {%- endif -%}
    {{- return('select null as ' ~ foretable.contract_columns(table)[0] ~ ' where false') -}}
{% endmacro %}


{# DuckDB gives a column whose name differs from another's in case alone a name of its own, without a word. #}
{% macro raw_parquet(table, files) %}
    {%- set select_rows = "select * from read_parquet(" ~ foretable.text_list(files) ~ ", union_by_name = true, hive_partitioning = false)" -%}
    {%- set written = run_query(
        "select distinct lower(name) from parquet_schema(" ~ foretable.text_list(files) ~ ")"
    ).columns[0].values() -%}
    {%- for name in run_query('describe ' ~ select_rows).columns[0].values() | map('lower') if name not in written -%}
        {%- set column = modules.re.sub('_[0-9]+$', '', name) -%}
        {%- if column in foretable.contract_columns(table) -%}
            {{ exceptions.raise_compiler_error(
                files[0] ~ " holds the column " ~ column ~ " twice, in names that differ in case alone; rename one of them"
            ) }}
        {%- endif -%}
    {%- endfor -%}
    {{- return(foretable.checked_rows(table, select_rows, files[0])) -}}
{% endmacro %}


{#
    CSV and JSON lines land in a table of their own first, read by the function that the plugin brings: DuckDB's own reader
    loses rows of broken files (docs/decisions/csv-dialect.md). Nothing lands of a table that cannot be read.
#}
{% macro raw_text_files(table, files) %}
    {%- if not run_query("select 1 from duckdb_functions() where function_name = 'foretable_read_log' limit 1").rows -%}
        {{ exceptions.raise_compiler_error(
            files[0] ~ " needs the plugin that reads text; add it to the target in profiles.yml: "
            ~ "plugins: [{module: udfs.plugin, alias: foretable}]"
        ) }}
    {%- endif -%}
    {%- set landed = api.Relation.create(
        database=target.database, schema=generate_schema_name('staging', none), identifier='raw_' ~ table ~ '__text') -%}
    {%- set answer = run_query(
        "select answer.folder, answer.error from (select foretable_read_log(" ~ foretable.text_list(files) ~ ", "
        ~ foretable.text_list(foretable.contract_columns(table)) ~ ") as answer)"
    ).rows[0] -%}
    {%- if answer[1] -%}
        {{ exceptions.raise_compiler_error(answer[1]) }}
    {%- endif -%}
    {%- set rows = foretable.checked_rows(
        table, "select * from read_parquet('" ~ foretable.glob_of(answer[0]) ~ "/*.parquet', union_by_name = true, hive_partitioning = false)", files[0]) -%}
    {%- do run_query(
        "create schema if not exists " ~ landed.without_identifier() ~ "; create or replace table " ~ landed ~ " as " ~ rows
        ~ "; select foretable_drop_log('" ~ (answer[0] | replace("'", "''")) ~ "')"
    ) -%}
    {{- return('select * from ' ~ landed) -}}
{% endmacro %}


{#
    The rows, with the required columns there and a single value in each: bytes are read as UTF-8, and an event with a list
    or an object where the contract has one value is rejected.
#}
{% macro checked_rows(table, select_rows, place) %}
    {%- set types = {} -%}
    {%- for column in run_query('describe ' ~ select_rows).rows -%}
        {%- do types.update({column[0]: column[1]}) -%}
    {%- endfor -%}
    {%- set found = types | map('lower') | list -%}
    {%- set missing = foretable.required_columns(table) | reject('in', found) | list -%}
    {%- if missing -%}
        {{ exceptions.raise_compiler_error(
            place ~ " lacks the required column" ~ ('s ' if missing | length > 1 else ' ') ~ (missing | join(', '))
            ~ "; it has: " ~ (found | join(', ')) ~ ". Rename them in a mapping of your own (foretable init --help)"
        ) }}
    {%- endif -%}
    {%- if table == 'events' and not run_query('select 1 from (' ~ select_rows ~ ') limit 1').rows -%}
        {{ exceptions.raise_compiler_error(place ~ " holds no rows; there is nothing to build from") }}
    {%- endif -%}
    {%- set replaced = [] -%}
    {%- set reasons = [] -%}
    {%- set renamed = [] -%}
    {%- for column, type in types.items() -%}
        {%- set quoted = adapter.quote(column | replace('"', '""')) -%}
        {%- if column | lower in foretable.reserved_columns() -%}
            {%- do renamed.append(quoted ~ ' as ' ~ adapter.quote(foretable.free_name(column, found))) -%}
        {%- elif column | lower not in foretable.contract_columns(table) -%}
        {%- elif type.startswith(('STRUCT', 'MAP', 'UNION', 'VARIANT')) or type.endswith(']') -%}
            {%- if table != 'events' -%}
                {{ exceptions.raise_compiler_error(
                    place ~ ": the column " ~ column ~ " holds values of type " ~ type ~ ", and a single value is due; "
                    ~ "take it apart in a mapping of your own (foretable init --help)"
                ) }}
            {%- endif -%}
            {%- do replaced.append('to_json(' ~ quoted ~ ')::varchar as ' ~ quoted) -%}
            {%- do reasons.append("when " ~ quoted ~ " is not null then 'nested_value'") -%}
        {%- elif type == 'BLOB' -%}
            {%- do replaced.append('coalesce(try(decode(' ~ quoted ~ ')), ' ~ quoted ~ '::varchar) as ' ~ quoted) -%}
            {%- do reasons.append("when " ~ quoted ~ " is not null and try(decode(" ~ quoted ~ ")) is null then 'malformed_text'") -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set own = types | select('in', ['rejection_reason']) | list -%}
    {%- if reasons -%}
        {%- set reason = "case " ~ ("when rejection_reason is not null then rejection_reason::varchar " if own) ~ (reasons | join(' '))
            ~ " end as rejection_reason" -%}
        {%- if own -%}{%- do replaced.append(reason) -%}{%- endif -%}
    {%- endif -%}
    {{- return(
        "select *" ~ (" replace (" ~ (replaced | join(', ')) ~ ")" if replaced) ~ (" rename (" ~ (renamed | join(', ')) ~ ")" if renamed)
        ~ (", " ~ reason if reasons and not own) ~ " from (" ~ select_rows ~ ") as raw_rows"
    ) -}}
{% endmacro %}


{# A column's name with as many _ at its end as make it unlike all others. #}
{% macro free_name(column, found) %}
    {%- for count in range(1, found | length + 2) if (column | lower) ~ '_' * count not in found -%}
        {{- return(column ~ '_' * count) -}}
    {%- endfor -%}
{% endmacro %}


{# Texts as a list of SQL. #}
{% macro text_list(texts) %}
    {%- set quoted = [] -%}
    {%- for text in texts -%}{%- do quoted.append("'" ~ (text | replace("'", "''")) ~ "'") -%}{%- endfor -%}
    {{- return("[" ~ (quoted | join(', ')) ~ "]") -}}
{% endmacro %}
