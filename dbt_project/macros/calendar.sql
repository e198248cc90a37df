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


{# From when on a version of a campaign was known, as SQL of its kind, starts_at and updated_at. #}
{% macro campaign_known_from() -%}
    case
        when updated_at is not null then updated_at
        {%- if foretable.setting('campaigns_known_ahead') %}
        when lower(kind) in (
            {%- for kind in foretable.setting('campaigns_known_ahead') -%}
            '{{ kind | lower | replace("'", "''") }}'{{ ', ' if not loop.last }}
            {%- endfor -%}
        ) then starts_at - interval '{{ foretable.calendar_days() }} days'
        {%- endif %}
        else starts_at
    end
{%- endmacro %}
