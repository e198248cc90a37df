-- One row a campaign.
{{ config(materialized='view') }}

with mapped as (
    {{ mapped_table('campaigns') }}
),

typed as (
    select
        {{ text_of('mapped.campaign_id') }} as campaign_id,
        {{ text_of('mapped.kind') }} as kind,
        {{ cast_of('mapped.discount', 'double') }} as discount,
        {{ instant_of('mapped.starts_at') }} as starts_at,
        {{ instant_of('mapped.ends_at') }} as ends_at
    from mapped
)

select * from typed
