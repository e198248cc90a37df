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


{# What a session comes to, by rules on its counts; the first that holds. #}
{% macro session_patterns() %}
    {{- return({
        'direct_purchase': 'purchase_count > 0 and view_count <= 1',
        'considered_purchase': 'purchase_count > 0',
        'abandoned_cart': 'cart_count > 0',
        'bounce': 'event_count = 1',
        'search_led': 'search_count > 0',
        'browsing': 'true',
    }) -}}
{% endmacro %}


{# The pattern of a session, from its session_counts(). #}
{% macro session_pattern() -%}
    case
        {%- for pattern, rule in foretable.session_patterns().items() %}
        when {{ rule }} then '{{ pattern }}'
        {%- endfor %}
    end
{%- endmacro %}
