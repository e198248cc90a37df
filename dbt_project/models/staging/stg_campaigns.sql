-- One row a campaign.
{{ config(
    materialized='grown', identity='all',
    log=['campaign_id', 'starts_at::date as effective_on', 'starts_at::date as occurred_on']
) }}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}

with mapped as (
    {{ mapped_table('campaigns') }}
),

typed as (
    select
        {{ text_of('mapped.campaign_id') }} as campaign_id,
        {{ text_of('mapped.kind') }} as kind,
        {{ finite_of('mapped.discount') }} as discount,
        {{ instant_of('mapped.starts_at') }} as starts_at,
        {{ instant_of('mapped.ends_at') }} as ends_at
    from mapped
)

select * from typed
