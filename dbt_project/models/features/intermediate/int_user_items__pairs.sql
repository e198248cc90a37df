-- One row a user, item and snapshot, of those that met in the days before it: counts, recency, and what is in the cart.
{%- set longest = setting('user_item_days') %}
{%- set shorter = [1, 7] | select('lt', longest) | list %}
with {{ days_before_snapshots(longest) }},

snapshots as (
    select snapshots.* from {{ ref('int_users__snapshots') }} as snapshots
    where {{ due('snapshots') }}
),

events as (
    select
        events.user_id,
        events.item_id,
        events.event_type,
        events.duration_seconds::decimal(18, 3) as duration_seconds,
        {%- for days in shorter %}
        days.as_of - interval '{{ days }} days' <= events.occurred_at as is_in_{{ days }}d,
        {%- endfor %}
        events.occurred_at,
        days.as_of
    from {{ ref('int_events__imputed') }} as events
    inner join days
        on events.occurred_at::date = days.occurred_on and {{ known_before('events', 'days') }}
    semi join snapshots
        on events.user_id = snapshots.user_id and days.as_of = snapshots.as_of
    where events.item_id is not null
),

counted as (
    select
        user_id,
        item_id,
        {%- for days in shorter %}
        sum(is_in_{{ days }}d::utinyint)::integer as event_count_{{ days }}d,
        {%- for event_type in ['view', 'cart', 'purchase'] %}
        sum(
            (is_in_{{ days }}d and event_type = '{{ event_type }}')::utinyint
        )::integer as {{ event_type }}_count_{{ days }}d,
        {%- endfor %}
        {%- endfor %}
        count(*)::integer as event_count_{{ longest }}d,
        {%- for event_type in item_event_types() %}
        sum((event_type = '{{ event_type }}')::utinyint)::integer as {{ event_type }}_count_{{ longest }}d,
        {%- endfor %}
        coalesce(sum(duration_seconds), 0)::double as duration_seconds_{{ longest }}d,
        min(occurred_at) as first_occurred_at,
        max(occurred_at) as last_occurred_at,
        {%- for event_type in recency_event_types() %}
        max(case when event_type = '{{ event_type }}' then occurred_at end) as last_{{ event_type }}_at,
        {%- endfor %}
        max(case when event_type in ('remove', 'purchase') then occurred_at end) as last_out_of_cart_at,
        as_of
    from events
    group by user_id, item_id, as_of
),

measured as (
    select
        user_id,
        item_id,
        * exclude (
            user_id, item_id, as_of, first_occurred_at, last_occurred_at, last_view_at, last_cart_at, last_purchase_at,
            last_out_of_cart_at
        ),
        greatest(view_count_{{ longest }}d - 1, 0) as repeat_view_count_{{ longest }}d,
        date_diff('second', first_occurred_at, as_of) / 86400.0 as met_days,
        date_diff('second', last_occurred_at, as_of) / 86400.0 as recency_days,
        {%- for event_type in recency_event_types() %}
        date_diff('second', last_{{ event_type }}_at, as_of) / 86400.0 as {{ event_type }}_recency_days,
        {%- endfor %}
        last_cart_at is not null and coalesce(last_cart_at > last_out_of_cart_at, true) as is_in_cart,
        as_of
    from counted
)

select * from measured
