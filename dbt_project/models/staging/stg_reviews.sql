-- One row a review.
{{ config(
    materialized='grown', identity='all',
    log=['user_id', 'item_id', 'created_at::date as effective_on', 'created_at::date as occurred_on']
) }}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}

with mapped as (
    {{ mapped_table('reviews') }}
),

typed as (
    select
        {{ text_of('mapped.review_id') }} as review_id,
        {{ text_of('mapped.user_id') }} as user_id,
        {{ text_of('mapped.item_id') }} as item_id,
        {{ text_of('mapped.body') }} as body,
        {{ finite_of('mapped.rating') }} as rating,
        {{ instant_of('mapped.created_at') }} as created_at
    from mapped
)

select * from typed
