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
#}
{% macro mapped_table(table, extra=[]) %}
    select
    {%- for column in foretable.contract_columns(table) + extra %}
        null as {{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
    where false
    {%- if table in foretable.setting('mapped_tables') %}
    union all by name
    select * from {{ ref(foretable.setting('source') ~ '__' ~ table) }}
    {%- endif %}
{% endmacro %}


{# Text without the blanks around it; empty text is NULL. #}
{% macro text_of(column) -%}
    nullif(trim({{ column }}::varchar), '')
{%- endmacro %}


{# A cast that gives NULL instead of failing, from whatever type the mapping brings. #}
{% macro cast_of(column, type) -%}
    try_cast({{ foretable.text_of(column) }} as {{ type }})
{%- endmacro %}


{#
    An instant in UTC as TIMESTAMP, NULL where it cannot be read. Text with an offset (…Z, …+02:00) is shifted: a plain cast
    to TIMESTAMP would drop the offset without a word. Text without one is UTC already, whatever the session's time zone.
#}
{% macro instant_of(column) -%}
    case
        when regexp_matches({{ column }}::varchar, '[0-9](Z|z|UTC| ?[+-][0-9]{2}(:?[0-9]{2})?)\s*$')
            and regexp_matches({{ column }}::varchar, ':')
            then timezone('UTC', {{ foretable.cast_of(column, 'timestamptz') }})
        else {{ foretable.cast_of(column, 'timestamp') }}
    end
{%- endmacro %}
