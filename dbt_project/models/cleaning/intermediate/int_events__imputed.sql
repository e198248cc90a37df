-- One row an event that happened, with the item's category and brand of that time, a session for every event,
-- and missing prices filled from the item's list price of that time, else from the category's median.
-- A row that was taken for an event until a better one was known is kept for the snapshots of that time: is_kept is
-- false.
{{ config(
    materialized='grown', identity='all', inputs=['int_items__price_medians'],
    log=['row_id', 'user_id', 'session_id', 'item_id', 'category_id', 'brand', 'known_on', 'hidden_on',
         'known_on as effective_on', 'occurred_at::date as occurred_on']
) }}

{%- set is_grown = grows() %}
{%- set touched %}
    select row_id from {{ changed_rows('stg_events') if is_grown else ref('stg_events') }}
    union
    select row_id from {{ changed_rows('int_events__matched') if is_grown else ref('int_events__matched') }}
    union
    select row_id
    from {{ ref('stg_events') }}
    where item_id in (select item_id from {{ changed_rows('stg_items') if is_grown else ref('stg_items') }})
{%- endset %}

{%- if is_grown %}
{{ replaces('row_id in (' ~ touched ~ ')') }}
{%- endif %}
with staged as (
    select * from {{ ref('stg_events') }}
    where
        rejection_reason is null {%- if is_grown %}
        and row_id in ({{ touched }}) {%- endif %}
),

matched as (
    select * from {{ ref('int_events__matched') }}
),

items as (
    {{ versions_of('stg_items', 'item_id') }}
),

price_medians as (
    select * from {{ ref('int_items__price_medians') }}
),

{% if setting('as_of_mode') == 'known' -%}
timed as (
    select
        *,
        greatest(occurred_at, coalesce(loaded_at, occurred_at)) as known_at
    from staged
),

{% else -%}
timed as (
    select
        *,
        occurred_at as known_at
    from staged
),

{% endif -%}
events as (
    select
        timed.*,
        matched.row_id is null as is_kept,
        coalesce(matched.hidden_on, {{ end_of_time() }}) as hidden_on
    from timed
    left join matched
        on timed.row_id = matched.row_id
    where
        matched.row_id is null
        {%- if setting('as_of_mode') == 'known' %}
        or timed.known_at::date < matched.hidden_on
        {%- endif %}
),

described as (
    select
        events.*,
        items.category_id,
        items.brand,
        items.price as list_price
    from events
    left join items
        on
            events.item_id = items.item_id
            and events.occurred_at >= items.valid_from
            and events.occurred_at < items.valid_to
),

imputed as (
    select
        described.row_id,
        described.event_id,
        described.user_id,
        coalesce(described.session_id, described.user_id || '@' || described.occurred_at::date) as session_id,
        described.event_type,
        described.item_id,
        described.category_id,
        described.brand,
        described.query,
        described.channel,
        described.device,
        described.campaign_id,
        described.order_id,
        described.quantity,
        case
            when described.item_id is not null
                then coalesce(described.price, described.list_price, category_median.price, overall_median.price)
            else described.price
        end as price,
        described.list_price,
        described.duration_seconds,
        described.price is null and described.item_id is not null as is_price_imputed,
        described.session_id is null as is_session_id_imputed,
        described.is_kept,
        described.known_at::date as known_on,
        described.hidden_on,
        described.occurred_at,
        described.loaded_at,
        described.known_at
    from described
    left join price_medians as category_median
        on described.category_id = category_median.category_id
    left join price_medians as overall_median
        on overall_median.category_id is null
)

select * from imputed
