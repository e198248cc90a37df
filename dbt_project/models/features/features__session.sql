-- One row a session and snapshot, of the sessions that had started in the days before it, with what was known of them.
{{ config(materialized='snapshots', contract={'enforced': true}) }}

with sessions as (
    select sessions.* from {{ ref('int_sessions__snapshots') }} as sessions
    where {{ due('sessions') }}
),

events as (
    {{ events_of_sessions() }}
),

counted as (
    select
        user_id,
        session_id,
        {%- for column in ['channel', 'device', 'campaign_id'] %}
        arg_min({{ column }}, (occurred_at, row_id)) as entry_{{ column }},
        {%- endfor %}
        count(*)::integer as event_count,
        {%- for event_type in counted_event_types() %}
        sum((event_type = '{{ event_type }}')::utinyint)::integer as {{ event_type }}_count,
        {%- endfor %}
        {%- for thing, column in {'item': 'item_id', 'category': 'category_id', 'brand': 'brand'}.items() %}
        count(distinct {{ column }})::integer as distinct_{{ thing }}_count,
        {%- endfor %}
        coalesce(sum(duration_seconds::decimal(18, 3)), 0)::double as duration_seconds,
        {%- for event_type in ['cart', 'purchase'] %}
        coalesce(
            sum((price * coalesce(quantity, 1))::decimal(18, 4)) filter (where event_type = '{{ event_type }}'), 0
        )::double as {{ event_type }}_value,
        {%- endfor %}
        sum(price::decimal(18, 4)) filter (where item_id is not null)::double
        / nullif(count(price) filter (where item_id is not null), 0) as price_mean,
        max(price) filter (where item_id is not null) as price_max,
        as_of
    from events
    group by user_id, session_id, as_of
),

measured as (
    select
        counted.user_id,
        counted.session_id,
        counted.entry_channel,
        counted.entry_device,
        counted.entry_campaign_id,
        {{ session_pattern() }} as pattern,
        counted.* exclude (user_id, session_id, entry_channel, entry_device, entry_campaign_id, as_of),
        sessions.session_number::integer as session_number,
        hour(sessions.started_at)::integer as start_hour,
        isodow(sessions.started_at)::integer as start_weekday,
        date_diff('millisecond', sessions.started_at, sessions.ended_at) / 1000.0 as session_seconds,
        date_diff('second', sessions.previous_started_at, sessions.started_at) / 86400.0 as days_since_previous_session,
        date_diff('second', sessions.ended_at, counted.as_of) / 86400.0 as recency_days,
        counted.cart_count > 0 as has_cart,
        counted.purchase_count > 0 as has_purchase,
        counted.event_count = 1 as is_bounce,
        counted.as_of
    from counted
    inner join sessions
        on
            counted.user_id = sessions.user_id
            and counted.session_id = sessions.session_id
            and counted.as_of = sessions.as_of
)

select * from measured
