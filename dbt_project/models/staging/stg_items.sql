-- One row a version of an item, with the time from which it was valid.
{{ config(
    materialized='grown', identity='all',
    log=['item_id', 'valid_from::date as effective_on', 'valid_from::date as occurred_on']
) }}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}
with judged as (
    select * from {{ ref('stg_items__judged') }}
),

versions as (
    select
        judged.item_id,
        judged.title,
        judged.description,
        judged.category_id,
        judged.brand,
        judged.image,
        judged.price,
        judged.listed_at,
        judged.valid_from
    from judged
    where judged.rejection_reason is null
)

select * from versions
