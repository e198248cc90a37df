-- One row a user, day with a purchase or a return, and time in which they may be seen: the tiles of money.
-- Money is added up as decimals: a sum of doubles would change with the order of the rows.
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- if is_grown %}
{{ replaces(
    '(user_id, occurred_on) in (select (user_id, occurred_on) from ' ~ changed_rows('int_events__imputed') ~ ')'
) }}
{%- endif %}
with events as (
    select
        *,
        price is not null and not is_price_imputed as is_price_known,
        occurred_at::date as occurred_on
    from {{ ref('int_events__imputed') }}
    where
        event_type in ('purchase', 'return') {%- if is_grown %}
        and (user_id, occurred_at::date) in (
            select (user_id, occurred_on) from {{ changed_rows('int_events__imputed') }}
        ) {%- endif %}
),

price_medians as (
    select * from {{ ref('int_items__price_medians') }}
    where category_id is not null
),

-- What the item would have cost: by its list, and in its category. A price that was filled in tells of neither.
compared as (
    select
        events.user_id,
        events.event_type,
        coalesce(events.quantity, 1) as quantity,
        events.price,
        case
            when events.is_price_known and events.list_price between 0 and {{ setting('max_price') }}
                then events.list_price
        end as list_price,
        case when events.is_price_known then price_medians.price end as category_price,
        events.occurred_on,
        events.known_on,
        events.hidden_on
    from events
    left join price_medians
        on events.category_id = price_medians.category_id
),

days as (
    select
        user_id,
        {%- for event_type in ['purchase', 'return'] %}
        count(*) filter (where event_type = '{{ event_type }}') as {{ event_type }}_count,
        {%- endfor %}
        {%- set amounts = {
            'purchase_value': 'price',
            'list_value': 'list_price',
            'discount_value': 'greatest(list_price - price, 0)',
            'category_value': 'category_price',
            'compared_value': 'case when category_price is not null then price end',
        } %}
        {%- for amount, expression in amounts.items() %}
        sum((quantity * {{ expression }})::decimal(18, 4)) filter (where event_type = 'purchase') as {{ amount }},
        {%- endfor %}
        max((quantity * price)::decimal(18, 4)) filter (where event_type = 'purchase') as purchase_value_max,
        count(price) filter (where event_type = 'purchase') as priced_count,
        count(list_price) filter (where event_type = 'purchase') as listed_count,
        count(*) filter (where event_type = 'purchase' and price < list_price) as discounted_count,
        occurred_on,
        known_on,
        hidden_on
    from compared
    group by user_id, occurred_on, known_on, hidden_on
)

select * from days
