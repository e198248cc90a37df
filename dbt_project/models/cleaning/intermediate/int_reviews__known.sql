-- One row a review that counts, with the sentiment of its text.
-- A version that stood until a later one was known is kept for the snapshots of that time: is_kept is false.
{{ config(
    materialized='grown', identity='all',
    log=['row_id', 'user_id', 'item_id', 'known_on as effective_on', 'created_at::date as occurred_on']
) }}

{%- set is_grown = grows() %}
{%- set touched = 'row_id in (select row_id from ' ~ (changed_rows('stg_reviews') if is_grown)
    ~ ' union select row_id from ' ~ (changed_rows('int_reviews__matched') if is_grown) ~ ')' %}

{%- if is_grown %}
{{ replaces(touched) }}
{%- endif %}
with reviews as (
    select
        *,
        {{ review_known_at() if setting('as_of_mode') == 'known' else 'created_at' }} as known_at
    from {{ ref('stg_reviews') }}
    where
        rejection_reason is null {%- if is_grown %}
        and {{ touched }} {%- endif %}
),

matched as (
    select * from {{ ref('int_reviews__matched') }}
),

known as (
    select
        reviews.row_id,
        reviews.review_id,
        reviews.user_id,
        reviews.item_id,
        reviews.body,
        reviews.rating,
        {{ sentiment_of('reviews.body') }} as sentiment,
        matched.row_id is null as is_kept,
        reviews.known_at::date as known_on,
        coalesce(matched.hidden_on, {{ end_of_time() }}) as hidden_on,
        reviews.created_at,
        reviews.known_at
    from reviews
    left join matched
        on reviews.row_id = matched.row_id
    where
        matched.row_id is null
        {%- if setting('as_of_mode') == 'known' %}
        or reviews.known_at::date < matched.hidden_on
        {%- endif %}
)

select * from known
