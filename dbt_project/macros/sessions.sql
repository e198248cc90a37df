{# What is counted of a session's events. #}
{% macro session_counts() %}
    {{- return(['event_count', 'view_count', 'cart_count', 'purchase_count', 'search_count']) -}}
{% endmacro %}


{# The measures of a group of one session's events, for a select list. #}
{% macro session_measures() -%}
    {%- for column in foretable.session_counts() %}
    {%- set event_type = column | replace('_count', '') %}
    count(*) {{ "filter (where event_type = '" ~ event_type ~ "') " if event_type != 'event' }}as {{ column }},
    {%- endfor %}
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at
{%- endmacro %}
