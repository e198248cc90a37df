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
    {%- set paths = "['" ~ (files | map('replace', "'", "''") | join("', '")) ~ "']" -%}
    {%- if '.csv' in files[0] -%}
        {{- return(foretable.raw_csv(table, files)) -}}
    {%- elif files[0].endswith('.parquet') -%}
        {%- set select_rows = 'select * from read_parquet(' ~ paths ~ ', union_by_name = true)' -%}
    {%- else -%}
        {%- set select_rows = foretable.raw_json_lines(table, paths) -%}
    {%- endif -%}
    {%- do foretable.check_raw_table(table, select_rows, files[0]) -%}
    {{- return(select_rows) -}}
{% endmacro %}


{# The files of a table in the order of the formats tried; the first format found is taken. #}
{% macro raw_files(table) %}
    {%- set folder = foretable.setting('data').rstrip('/') | replace("'", "''") -%}
    {%- for ending in ['parquet', 'csv', 'csv.gz', 'jsonl', 'ndjson', 'jsonl.gz'] -%}
        {%- set found = run_query(
            "select file from glob(['" ~ folder ~ "/" ~ table ~ "." ~ ending ~ "', '"
            ~ folder ~ "/" ~ table ~ "/*." ~ ending ~ "']) order by file"
        ).columns[0].values() -%}
        {%- if found -%}{{- return(found | list) -}}{%- endif -%}
    {%- endfor -%}
    {{- return([]) -}}
{% endmacro %}


{% macro raw_relation(table) %}
    {%- set relation = adapter.get_relation(target.database, foretable.setting('raw_schema'), table) -%}
    {%- if relation is none -%}
        {{- return(foretable.no_raw_table(table, "schema '" ~ foretable.setting('raw_schema') ~ "'",
            "a table or view named '" ~ table ~ "'")) -}}
    {%- endif -%}
    {%- set select_rows = 'select * from ' ~ relation -%}
    {%- do foretable.check_raw_table(table, select_rows, relation) -%}
    {{- return(select_rows) -}}
{% endmacro %}


{% macro no_raw_table(table, place, expected) %}
    {%- if table == 'events' -%}
        {{ exceptions.raise_compiler_error(place ~ " holds no table 'events'; expected " ~ expected) }}
    {%- endif -%}
    {{- return('select null as ' ~ foretable.contract_columns(table)[0] ~ ' where false') -}}
{% endmacro %}


{% macro check_raw_table(table, select_rows, place) %}
    {%- set found = run_query('describe ' ~ select_rows).columns[0].values() | map('lower') | list -%}
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
{% endmacro %}


{#
    CSV lands in a table of its own first: the lines that DuckDB rejects are known only after the scan, and they have to
    be kept. Reject tables are temporary and belong to one connection, so all is done in one go. Files are read one by
    one, since DuckDB keeps no rejects where it unites files by name.

    The header alone says what the delimiter and the columns are; quotes are always ". DuckDB's own detection looks at the
    rows, and one broken line can make it read all others in another dialect without a word.
#}
{% macro raw_csv(table, files) %}
    {%- set landed = api.Relation.create(
        database=target.database, schema=generate_schema_name('staging', none), identifier='raw_' ~ table ~ '__csv') -%}
    {%- set statements = ["drop table if exists raw_rejects", "drop table if exists raw_scans"] -%}
    {%- set parts = [] -%}
    {%- for file in files -%}
        {%- do statements.append(
            "create or replace temp table raw_file_" ~ loop.index ~ " as select * from read_csv('" ~ (file | replace("'", "''"))
            ~ "', " ~ foretable.csv_dialect(file) ~ ", quote = '\"', escape = '\"', header = true, auto_detect = false,"
            ~ " store_rejects = true, rejects_table = 'raw_rejects', rejects_scan = 'raw_scans', rejects_limit = 0)"
        ) -%}
        {%- do parts.append("select * from temp.main.raw_file_" ~ loop.index) -%}
    {%- endfor -%}
    {%- do run_query(statements | join('; ')) -%}
    {%- set rows = parts | join(' union all by name ') -%}
    {%- do foretable.check_raw_table(table, rows, files[0]) -%}
    {%- do run_query(
        "create schema if not exists " ~ landed.without_identifier() ~ "; create or replace table " ~ landed ~ " as "
        ~ "select *, null::varchar as rejection_reason, null::varchar as raw_text from (" ~ rows ~ ") "
        ~ "union all by name "
        ~ "select 'malformed_line' as rejection_reason, any_value(csv_line) as raw_text "
        ~ "from raw_rejects group by scan_id, file_id, line"
    ) -%}
    {{- return('select * from ' ~ landed) -}}
{% endmacro %}


{# The delimiter and the columns of a CSV file, from its first line, as arguments of read_csv. #}
{% macro csv_dialect(file) %}
    {%- set first = run_query(
        "select ltrim(line, chr(65279)) from read_csv('" ~ (file | replace("'", "''")) ~ "', columns = {'line': 'VARCHAR'},"
        ~ " header = false, delim = chr(31), quote = '', escape = '', auto_detect = false, strict_mode = false) limit 1"
    ).columns[0].values() -%}
    {%- if not first -%}
        {{ exceptions.raise_compiler_error(file ~ " is empty; expected a CSV file whose first line names its columns") }}
    {%- endif -%}
    {%- set counts = namespace(delimiter=',', most=0) -%}
    {%- for delimiter in [',', ';', '\t', '|'] if first[0].count(delimiter) > counts.most -%}
        {%- set counts.delimiter = delimiter -%}
        {%- set counts.most = first[0].count(delimiter) -%}
    {%- endfor -%}
    {%- set pattern = '("(?:[^"]|"")*"|[^"]*?)[' ~ counts.delimiter ~ ']' -%}
    {%- set columns = [] -%}
    {%- for name in modules.re.findall(pattern, first[0] ~ counts.delimiter) -%}
        {%- set bare = (name[1:-1] | replace('""', '"') if name.startswith('"') else name) | trim -%}
        {%- do columns.append("'" ~ ((bare or 'column_' ~ loop.index) | replace("'", "''")) ~ "': 'VARCHAR'") -%}
    {%- endfor -%}
    {{- return("delim = '" ~ counts.delimiter ~ "', columns = {" ~ (columns | join(', ')) ~ "}") -}}
{% endmacro %}


{# JSON lines are read line by line as text; a control character, which JSON never holds bare, stands as delimiter. #}
{% macro raw_json_lines(table, paths) %}
    {%- set lines = "read_csv(" ~ paths ~ ", columns = {'line': 'VARCHAR'}, header = false, delim = chr(31), quote = '',"
        ~ " escape = '', auto_detect = false, strict_mode = false)" -%}
    {%- set keys = run_query(
        "select distinct unnest(json_keys(line)) as key from (select line from " ~ lines ~ " where json_valid(line))"
        ~ " where json_type(line) = 'OBJECT' order by key"
    ).columns[0].values() -%}
    {%- set columns = [] -%}
    {%- for key in keys -%}
        {%- set path = '$."' ~ (key | replace('"', '\\"') | replace("'", "''")) ~ '"' -%}
        {%- do columns.append(
            "case when is_object then json_extract_string(line, '" ~ path ~ "') end as "
            ~ adapter.quote(key | replace('"', '""'))
        ) -%}
    {%- endfor -%}
    {{- return(
        "select " ~ (columns + [
            "case when not is_object then 'malformed_line' end as rejection_reason",
            "case when not is_object then line end as raw_text",
        ]) | join(', ')
        ~ " from (select line, json_valid(line) and coalesce(json_type(try_cast(line as json)) = 'OBJECT', false) as is_object"
        ~ " from " ~ lines ~ " where trim(line) <> '') as lines"
    ) -}}
{% endmacro %}
