{# How many days before its start a campaign that is known ahead comes into view. #}
{% macro calendar_days() %}
    {{- return(366) -}}
{% endmacro %}


{# The groups of campaigns that the calendar tells apart, each with the condition on `kind`; every other kind is a promotion. #}
{% macro calendar_groups() %}
    {{- return({
        'holiday': "kind = 'holiday'",
        'promotion': "coalesce(kind not in ('holiday', 'ad'), true)",
        'ad': "kind = 'ad'",
    }) -}}
{% endmacro %}
