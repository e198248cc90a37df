{# A query as it is compared: small letters, blanks as one. #}
{% macro query_text(column) -%}
    regexp_replace(lower(trim({{ column }})), '\s+', ' ', 'g')
{%- endmacro %}


{#
    What searches led to, as a query: of every event with a category whose session's event before it is a search, the
    category as `topic`. events: CTE with keys, session_id, event_type, category_id, occurred_at and row_id.
#}
{% macro searched_topics(events, keys) -%}
    select
        {{ keys | join(', ') }},
        session_id,
        category_id as topic,
        occurred_at::date as occurred_on
    from {{ events }}
    qualify
        category_id is not null
        and lag(event_type) over (
            partition by {{ keys | join(', ') }}, session_id
            order by occurred_at, row_id
        ) = 'search'
{%- endmacro %}
