{#
    Which raw events a run has to read. Where every row says when it was loaded, a run that adds to the tables reads those
    loaded in the last `late_days` before the newest one of the last run, and later. A count and a checksum of all older
    rows, kept from run to run, tell whether some of them changed after all: then everything is read and compared.

    Returns {'predicate': on loaded_at, or none for all rows, 'state': what the next run compares with}.

    relation: the mapped events. table_grows: whether the table is added to.
#}
{% macro arrivals(relation, table_grows) %}
    {%- if not execute or load_relation(relation) is none -%}{{- return({'predicate': none, 'state': ''}) -}}{%- endif -%}
    {%- set types = {} -%}
    {%- for row in run_query('describe select * from ' ~ relation).rows -%}
        {%- do types.update({row[0] | lower: row[1]}) -%}
    {%- endfor -%}
    {%- if types.get('loaded_at') not in ['TIMESTAMP', 'TIMESTAMP_MS', 'TIMESTAMP_S', 'TIMESTAMP_NS'] -%}{{- return({'predicate': none, 'state': ''}) -}}{%- endif -%}
    {%- set last = fromjson((foretable.last_build()['state'] if table_grows else none) or '{}') -%}
    {%- set columns = foretable.contract_columns('events') | select('in', types) | join(', ') -%}
    {%- set next_bound = run_query(
        "select (max(loaded_at) - interval '" ~ foretable.setting('late_days') ~ " days')::timestamp::varchar from " ~ relation
        ~ " where isfinite(loaded_at)"
    ).columns[0].values()[0] -%}
    {%- if next_bound is none -%}{{- return({'predicate': none, 'state': ''}) -}}{%- endif -%}
    {%- set sums = run_query(
        "select count(*) filter (where is_old), bit_xor(hashed) filter (where is_old)::varchar,"
        ~ " count(*) filter (where is_next), bit_xor(hashed) filter (where is_next)::varchar from ("
        ~ "select hash(" ~ columns ~ ") as hashed, loaded_at::timestamp < timestamp '" ~ last.get('bound', '0001-01-01')
        ~ "' as is_old, loaded_at::timestamp < timestamp '" ~ next_bound ~ "' as is_next from " ~ relation ~ ")"
    ).rows[0] -%}
    {%- set state = tojson({'bound': next_bound, 'count': sums[2] | string, 'checksum': sums[3] | string}) -%}
    {%- if last and last['count'] == sums[0] | string and last['checksum'] == sums[1] | string -%}
        {{- return({'predicate': "coalesce(loaded_at >= timestamp '" ~ last['bound'] ~ "', true)", 'state': state}) -}}
    {%- endif -%}
    {{- return({'predicate': none, 'state': state}) -}}
{% endmacro %}
