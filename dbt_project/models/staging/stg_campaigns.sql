-- One row a version of a campaign, with the time from which it was known: updated_at, where the mapping gives one.
-- Without it campaigns of the kinds in campaigns_known_ahead are known a year before they start, others from their
-- start on.
{{ config(
    materialized='grown', identity='all',
    log=['campaign_id', 'known_from::date as effective_on', 'starts_at::date as occurred_on']
) }}

{%- set known_ahead = setting('campaigns_known_ahead') %}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}
with mapped as (
    {{ mapped_table('campaigns', extra=['updated_at']) }}
),

typed as (
    select
        {{ text_of('mapped.campaign_id') }} as campaign_id,
        lower({{ text_of('mapped.kind') }}) as kind,
        {{ finite_of('mapped.discount') }} as discount,
        {{ instant_of('mapped.starts_at') }} as starts_at,
        {{ instant_of('mapped.ends_at') }} as ends_at,
        {{ instant_of('mapped.updated_at') }} as updated_at
    from mapped
    where {{ text_of('mapped.campaign_id') }} is not null
),

timed as (
    select
        * exclude (starts_at, ends_at, updated_at),
        case
            when updated_at is not null then updated_at
            {%- if known_ahead %}
            when kind in (
                {%- for kind in known_ahead -%}
                '{{ kind | lower | replace("'", "''") }}'{{ ', ' if not loop.last }}
                {%- endfor -%}
            ) then starts_at - interval '{{ calendar_days() }} days'
            {%- endif %}
            else starts_at
        end as known_from,
        starts_at,
        ends_at
    from typed
),

-- One version an instant: of several, the one whose text sorts last.
versioned as (
    select * from timed
    qualify row_number() over (partition by campaign_id, known_from order by timed::varchar desc) = 1
)

select * from versioned
