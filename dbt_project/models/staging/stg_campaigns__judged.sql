-- Every raw row of campaigns, typed, with the reason why it cannot be used, if there is one. Nothing is dropped here.
{{ config(materialized='view') }}

{%- set valid_from %}
        case
            when updated_at is not null then updated_at
            {%- if setting('campaigns_known_ahead') %}
            when lower(kind) in (
                {%- for kind in setting('campaigns_known_ahead') -%}
                '{{ kind | lower | replace("'", "''") }}'{{ ', ' if not loop.last }}
                {%- endfor -%}
            ) then starts_at - interval '{{ calendar_days() }} days'
            {%- endif %}
            else starts_at
        end
{%- endset %}
{{ judged_rows(
    'campaigns', texts=['kind'], numbers={'discount': none}, instants=['starts_at', 'ends_at', 'updated_at'],
    valid_from=valid_from
) }}
