-- One row a version of a user's attributes, with the time from which it was valid.
{{ config(
    materialized='grown', identity='all',
    log=['user_id', 'valid_from::date as effective_on', 'valid_from::date as occurred_on']
) }}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}
with judged as (
    select * from {{ ref('stg_users__judged') }}
),

versions as (
    select
        judged.user_id,
        judged.gender,
        judged.city,
        judged.region,
        judged.occupation,
        judged.income_band,
        judged.birth_year,
        judged.registered_at,
        judged.valid_from
    from judged
    where judged.rejection_reason is null
)

select * from versions
