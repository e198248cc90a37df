{# Event types that are counted a window each. #}
{% macro counted_event_types() %}
    {{- return([
        'view', 'search', 'cart', 'remove', 'favourite', 'purchase', 'return', 'click', 'impression', 'share',
    ]) -}}
{% endmacro %}


{# Event types whose last occurrence is a feature. #}
{% macro recency_event_types() %}
    {{- return(['view', 'cart', 'purchase']) -}}
{% endmacro %}
