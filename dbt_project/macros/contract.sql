{#
    The raw contract: every table's columns, and those that have to be there.
#}
{% macro contract_columns(table) %}
    {%- set columns = {
        'events': [
            'event_id', 'user_id', 'session_id', 'event_type', 'item_id', 'occurred_at', 'loaded_at', 'quantity',
            'price', 'duration_seconds', 'query', 'channel', 'device', 'campaign_id', 'order_id',
        ],
        'users': [
            'user_id', 'registered_at', 'birth_year', 'gender', 'city', 'region', 'occupation', 'income_band',
            'updated_at',
        ],
        'items': [
            'item_id', 'title', 'description', 'category_id', 'brand', 'price', 'image', 'listed_at', 'updated_at',
        ],
        'reviews': ['review_id', 'user_id', 'item_id', 'rating', 'body', 'created_at'],
        'campaigns': ['campaign_id', 'kind', 'starts_at', 'ends_at', 'discount'],
        'truth': ['user_id', 'as_of', 'purchased_30d', 'churned_30d'],
    } -%}
    {{- return(columns[table]) -}}
{% endmacro %}


{% macro required_columns(table) %}
    {%- set columns = {
        'events': ['user_id', 'event_type', 'occurred_at'],
        'users': ['user_id'],
        'items': ['item_id'],
        'reviews': ['user_id', 'item_id', 'rating', 'created_at'],
        'campaigns': ['campaign_id', 'starts_at', 'ends_at'],
        'truth': ['user_id', 'as_of'],
    } -%}
    {{- return(columns[table]) -}}
{% endmacro %}


{# A contract table's columns, each with its table's name before it, for a select list. #}
{% macro columns_of(table, relation) -%}
    {%- for column in foretable.contract_columns(table) -%}
        {{ relation }}.{{ column }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}


{#
    One contract table as the chosen source maps it, as a CTE body: contract columns that the mapping lacks are NULL,
    columns that the contract does not know are kept, and a table that the source does not map is empty.

    table: a contract table. extra: columns beside the contract's that a mapping may give (rejection_reason, raw_text).
    is_present: what the source shows now, even where keep_history has more.
#}
{% macro mapped_table(table, extra=[], is_present=false) %}
    select
    {%- for column in foretable.contract_columns(table) + extra %}
        null as {{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
    where false
    {%- if table in foretable.setting('mapped_tables') %}
    union all by name
    {% if foretable.keeps_history(table) and not is_present -%}
    {{ foretable.seen_versions(table) }}
    {%- else -%}
    select * from {{ ref(foretable.setting('source') ~ '__' ~ table) }}
    {%- endif %}
    {%- endif %}
{% endmacro %}


{# Text without the blanks around it; empty text is NULL. #}
{% macro text_of(column) -%}
    nullif(trim({{ column }}::varchar), '')
{%- endmacro %}


{#
    A cast that gives NULL instead of failing or guessing, from whatever type the mapping brings. DuckDB alone would read
    '1_000' as a number, and round '1985.7' to an integer.
#}
{% macro cast_of(column, type) -%}
    case
        {%- if type == 'integer' %}
        when regexp_full_match({{ foretable.text_of(column) }}, '[+-]?[0-9]+([.]0*)?')
        {%- else %}
        when not contains({{ foretable.text_of(column) }}, '_')
        {%- endif %}
            then try_cast({{ foretable.text_of(column) }} as {{ type }})
    end
{%- endmacro %}


{# A number as DOUBLE, NULL where it is NaN, infinite or none. #}
{% macro finite_of(column) -%}
    case when isfinite({{ foretable.cast_of(column, 'double') }}) then {{ foretable.cast_of(column, 'double') }} end
{%- endmacro %}


{#
    An instant in UTC as TIMESTAMP, NULL where it is not written as a date of the years 1 to 9999, with or without a time and
    an offset from UTC. Text with an offset (…Z, …+02:00) is shifted: a plain cast to TIMESTAMP would drop the offset without a
    word. Text without one is UTC already, whatever the session's time zone. The name of a zone is refused: twice a year an
    hour has two meanings or none.
#}
{% macro instant_of(column) -%}
    case
        when regexp_full_match({{ foretable.text_of(column) }}, '{{ foretable.local_instant() }}')
            then try_cast({{ foretable.text_of(column) }} as timestamp)
        when regexp_full_match(
            {{ foretable.text_of(column) }}, '{{ foretable.local_instant() }} ?(Z|z|UTC|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)'
        ) and contains({{ foretable.text_of(column) }}, ':')
            and {{ foretable.shifted_instant(column) }}
            between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999'
            then {{ foretable.shifted_instant(column) }}
    end
{%- endmacro %}


{#
    An instant with an offset, in UTC. DuckDB wants seconds before an offset and no blank: seconds left out are 0, and a blank
    is taken out.
#}
{% macro shifted_instant(column) -%}
    timezone('UTC', try_cast(
        regexp_replace(
            regexp_replace(upper({{ foretable.text_of(column) }}), ' ([+-]|Z$)', '\1'),
            '^([^:]*:[0-9]{1,2})( ?[^0-9:].*)$',
            '\1:00\2'
        ) as timestamptz
    ))
{%- endmacro %}


{# The pattern of a date, or of a date and a time, without an offset. #}
{% macro local_instant() -%}
    ([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])[-/][0-9]{1,2}[-/][0-9]{1,2}([ T]+[0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}([.][0-9]*)?)?)?
{%- endmacro %}


{# What the log's own columns must not be called, since stg_events has columns of that name: they get a _ at the end. #}
{% macro reserved_columns() %}
    {%- set reserved = ['row_id', 'row_text', 'row_hash', 'copy_number', 'mapped', 'numbered', 'typed'] -%}
    {%- for column in foretable.contract_columns('events') + ['rejection_reason', 'raw_text'] -%}
        {%- do reserved.append('raw_' ~ column) -%}
    {%- endfor -%}
    {{- return(reserved) -}}
{% endmacro %}


{# What a row of a table of the contract says, whoever delivered it: a hash of all columns but its id and when it was loaded. #}
{% macro content_hash(table, relation) -%}
    md5(
        concat_ws(
            chr(31),
            {%- for column in foretable.contract_columns(table) if column not in (table[:-1] ~ '_id', 'loaded_at') %}
            coalesce({{ relation }}.{{ column }}::varchar, chr(30)){{ ',' if not loop.last }}
            {%- endfor %}
        )
    )
{%- endmacro %}
