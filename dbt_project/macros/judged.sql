{#
    Every raw row of a table of attributes (users, items, campaigns), typed, with the time from which it was valid and the
    reason why it cannot be used, if there is one, as a query. Nothing is dropped here. Of several rows that say the same
    key from the same instant on, the one whose text sorts last is used.

    texts, whole_numbers, instants   the columns of that type beside the key
    numbers                          {column: the greatest value it may have; none: any finite one, negative too}
    valid_from                       SQL of the typed columns
#}
{% macro judged_rows(table, texts, instants, valid_from, numbers={}, whole_numbers=[]) -%}
{%- set key = foretable.contract_columns(table)[0] -%}
{%- set given = [key] + texts + whole_numbers + (numbers | list) + instants -%}
{%- set measured = whole_numbers + (numbers | list) + instants -%}
with mapped as (
    {{ foretable.rows_of_attributes(table) }}
),

-- The text of the whole row, unknown columns too, tells rows apart whatever order they come in.
hashed as (
    select
        *,
        md5(mapped::varchar) as row_hash
    from mapped
),

typed as (
    select
        md5(hashed.row_hash || '-' || row_number() over (partition by hashed.row_hash))::uuid as row_id,
        {%- for column in given + ['rejection_reason', 'raw_text'] %}
        hashed.{{ column }} as raw_{{ column }},
        {%- endfor %}
        {%- for column in [key] + texts %}
        {{ foretable.text_of('hashed.' ~ column) }} as {{ column }},
        {%- endfor %}
        {%- for column in whole_numbers %}
        {{ foretable.cast_of('hashed.' ~ column, 'integer') }} as {{ column }},
        {%- endfor %}
        {%- for column in numbers %}
        {{ foretable.cast_of('hashed.' ~ column, 'double') }} as {{ column }},
        {%- endfor %}
        {%- for column in instants %}
        {{ foretable.instant_of('hashed.' ~ column) }} as {{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    from hashed
),

reasoned as (
    select
        *,
        case
            when {{ foretable.text_of('raw_rejection_reason') }} is not null
                then {{ foretable.text_of('raw_rejection_reason') }}
            when {{ key }} is null then 'missing_{{ key }}'
            {%- for column in measured %}
            when {{ column }} is null and {{ foretable.text_of('raw_' ~ column) }} is not null
                then 'malformed_{{ column }}'
            {%- endfor %}
            {%- for column, greatest_value in numbers.items() %}
            when not {{ 'isfinite(' ~ column ~ ')' if greatest_value is none else column ~ ' between 0 and ' ~ greatest_value }}
                then 'impossible_{{ column }}'
            {%- endfor %}
        end as first_reason,
        {{ valid_from }} as valid_from
    from typed
),

ranked as (
    select
        *,
        row_number() over (
            partition by {{ key }}, valid_from, first_reason is null
            order by row({{ given | join(', ') }})::varchar desc, row_id
        ) as version_number
    from reasoned
),

judged as (
    select
        row_id,
        {{ ([key] + texts + whole_numbers + (numbers | list) + instants) | join(', ') }},
        valid_from,
        coalesce(first_reason, case when version_number > 1 then 'same_version' end) as rejection_reason,
        case
            when rejection_reason is not null
                then coalesce(
                    raw_raw_text::varchar,
                    to_json(
                        {
                            {%- for column in given %}
                            '{{ column }}': raw_{{ column }}{{ ',' if not loop.last }}
                            {%- endfor %}
                        }
                    )::varchar
                )
        end as raw_text
    from ranked
)

select * from judged
{%- endmacro %}


{#
    The raw rows of a table of attributes as its source maps them. With keep_history they are the versions that runs saw,
    and the rows of the present that no history can hold.
#}
{% macro rows_of_attributes(table) -%}
    {%- set extras = ['rejection_reason', 'raw_text'] + (['updated_at'] if table == 'campaigns' else []) -%}
    {{ foretable.mapped_table(table, extra=extras) }}
    {%- if foretable.keeps_history(table) %}
    union all by name
    select * from ({{ foretable.mapped_table(table, extra=extras, is_present=true) }})
    where not {{ foretable.has_history_of(table) }}
    {%- endif %}
{%- endmacro %}


{# Can a row of the present become a version in the history? #}
{% macro has_history_of(table) -%}
    ({{ foretable.text_of(foretable.contract_columns(table)[0]) }} is not null
    and {{ foretable.text_of('rejection_reason') }} is null)
{%- endmacro %}


{# The rows of a table of attributes that cannot be used, as they came, each with its reason, as a model. #}
{% macro quarantined_rows(table) -%}
with judged as (
    select * from {{ ref('foretable', 'stg_' ~ table ~ '__judged') }}
),

rejected as (
    select
        judged.row_id,
        judged.{{ foretable.contract_columns(table)[0] }},
        judged.rejection_reason,
        judged.raw_text
    from judged
    where judged.rejection_reason is not null
)

select * from rejected
{%- endmacro %}
