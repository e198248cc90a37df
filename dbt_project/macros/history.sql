{#
    With the setting keep_history, dbt snapshots remember each version of a user and an item that a run saw: history for a
    source that keeps only the present. A version counts from the run that saw it first, since nobody knows what was so before.
#}
{% macro keeps_history(table) %}
    {{- return(foretable.setting('keep_history') and table in ['users', 'items']) -}}
{% endmacro %}


{# The columns of a table that make a new version where one of them changes. #}
{% macro kept_columns(table) %}
    {{- return(foretable.contract_columns(table)[1:] | reject('equalto', 'updated_at') | list) -}}
{% endmacro %}


{# The table as its source shows it now, as text, one row a key: of several versions the newest. #}
{% macro present_rows(table) -%}
{%- set key = foretable.contract_columns(table)[0] -%}
with mapped as (
    select * from ({{ foretable.mapped_table(table, extra=['rejection_reason'], is_present=true) }})
    where {{ foretable.has_history_of(table) }}
),

present as (
    select
        {{ foretable.text_of('mapped.' ~ key) }} as {{ key }},
        {%- for column in foretable.kept_columns(table) %}
        mapped.{{ column }}::varchar as {{ column }},
        {%- endfor %}
        timestamp '{{ foretable.setting('run_at') }}' as seen_at
    from mapped
    qualify row_number() over (
        partition by {{ foretable.text_of('mapped.' ~ key) }}
        order by {{ foretable.instant_of('mapped.updated_at') }} desc nulls last, mapped::varchar desc
    ) = 1
)

select * from present
{%- endmacro %}


{# The versions that runs saw, as a mapping would bring them. #}
{% macro seen_versions(table) -%}
    select
        * exclude (seen_at, dbt_scd_id, dbt_updated_at, dbt_valid_from, dbt_valid_to),
        dbt_valid_from as updated_at
    from {{ ref('foretable', 'history__' ~ table) }}
{%- endmacro %}
