-- One row a user and snapshot: items left in the cart, and how often an item is viewed before it is bought. An item in
-- the cart counts in the window of its last cart, and is abandoned as long as no later purchase of it is known.
with {{ settled_snapshots() }},

unsettled_events as (
    {{ events_of_unsettled() }}
),

unsettled_journeys as (
    {{ journeys_of('unsettled_events', ['user_id', 'as_of', 'item_id']) }}
),

-- Each unsettled snapshot has journeys of its own, which end before it.
journeys as (
    select
        *,
        true as is_settled,
        occurred_on as known_on,
        {{ end_of_time() }} as hidden_on
    from {{ ref('int_users__journeys') }}
    where {{ in_bucket('user_id') }}
    union all by name
    select
        * exclude (as_of),
        false as is_settled,
        as_of::date - 1 as known_on,
        as_of::date as hidden_on
    from unsettled_journeys
),

tiles as (
    select
        user_id,
        is_settled,
        1 as carted_item_count,
        occurred_on,
        known_on,
        least(next_cart_on, hidden_on) as hidden_on
    from journeys
    where is_carted
    union all by name
    select
        user_id,
        is_settled,
        1 as abandoned_cart_count,
        cart_value as abandoned_cart_value,
        occurred_on,
        known_on,
        least(next_step_on, hidden_on) as hidden_on
    from journeys
    where is_open
    union all by name
    select
        user_id,
        is_settled,
        item_purchase_count,
        view_count,
        occurred_on,
        known_on,
        hidden_on
    from journeys
    where item_purchase_count > 0
),

{{ windowed('snapshots', 'tiles', ['user_id', 'is_settled'], sums={
    'carted_item_count': 'integer',
    'abandoned_cart_count': 'integer',
    'abandoned_cart_value': 'double',
    'item_purchase_count': 'integer',
    'view_count': 'bigint',
}) }},

measured as (
    select
        user_id,
        {%- for days in windows() %}
        abandoned_cart_count_{{ days }}d,
        abandoned_cart_value_{{ days }}d,
        {%- endfor %}
        {%- for window in profile_suffixes() %}
        abandoned_cart_count_{{ window }}
        / nullif(carted_item_count_{{ window }}, 0) as abandoned_cart_share_{{ window }},
        view_count_{{ window }}
        / nullif(item_purchase_count_{{ window }}, 0) as views_before_purchase_mean_{{ window }},
        {%- endfor %}
        as_of
    from windowed
)

select * from measured
