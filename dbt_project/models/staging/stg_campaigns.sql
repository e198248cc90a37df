-- One row a version of a campaign, with the time from which it was known: updated_at, where the mapping gives one.
-- Without it campaigns of the kinds in campaigns_known_ahead are known a year before they start, others from their
-- start on.
{{ config(
    materialized='grown', identity='all',
    log=['campaign_id', 'known_from::date as effective_on', 'starts_at::date as occurred_on']
) }}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}
with judged as (
    select * from {{ ref('stg_campaigns__judged') }}
),

versions as (
    select
        judged.campaign_id,
        lower(judged.kind) as kind,
        judged.discount,
        judged.valid_from as known_from,
        judged.starts_at,
        judged.ends_at
    from judged
    where judged.rejection_reason is null
)

select * from versions
