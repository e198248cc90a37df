{# Numeric features of a user that are filled with the training rows' median where they are NULL. #}
{% macro imputed_columns() %}
    {%- set columns = ['age_years', 'purchase_value_mean_lifetime'] -%}
    {%- for days in foretable.windows() if days > 1 -%}
        {%- do columns.append('interval_mean_days_' ~ days ~ 'd') -%}
        {%- do columns.append('session_conversion_rate_' ~ days ~ 'd') -%}
        {%- do columns.append('session_seconds_mean_' ~ days ~ 'd') -%}
    {%- endfor -%}
    {{- return(columns) -}}
{% endmacro %}
