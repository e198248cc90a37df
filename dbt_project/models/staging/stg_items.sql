-- One row a version of an item, with the time from which it was valid.
{{ config(
    materialized='grown', identity='all',
    log=['item_id', 'valid_from::date as effective_on', 'valid_from::date as occurred_on']
) }}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}
with mapped as (
    {{ mapped_table('items') }}
),

typed as (
    select
        {{ text_of('mapped.item_id') }} as item_id,
        {{ text_of('mapped.title') }} as title,
        {{ text_of('mapped.description') }} as description,
        {{ text_of('mapped.category_id') }} as category_id,
        {{ text_of('mapped.brand') }} as brand,
        {{ text_of('mapped.image') }} as image,
        {{ finite_of('mapped.price') }} as price,
        {{ instant_of('mapped.listed_at') }} as listed_at,
        coalesce(
            {{ instant_of('mapped.updated_at') }},
            {{ instant_of('mapped.listed_at') }},
            timestamp '0001-01-01'
        ) as valid_from
    from mapped
    where {{ text_of('mapped.item_id') }} is not null
),

-- One version an instant: of several, the one whose text sorts last.
versioned as (
    select * from typed
    qualify row_number() over (partition by item_id, valid_from order by typed::varchar desc) = 1
)

select * from versioned
