-- One row a user, day, and day on which the events became known: the tiles that every count and sum is made of.
-- Money and durations are added up as decimals: a sum of doubles would change with the order of the rows.
with events as (
    select * from {{ ref('int_events__imputed') }}
),

daily as (
    select
        events.user_id,
        count(*) as event_count,
        {%- for event_type in counted_event_types() %}
        count(*) filter (where events.event_type = '{{ event_type }}') as {{ event_type }}_count,
        {%- endfor %}
        coalesce(
            sum((events.price * coalesce(events.quantity, 1))::decimal(18, 4)) filter (
                where events.event_type = 'purchase'
            ), 0
        ) as purchase_value,
        coalesce(sum(events.duration_seconds::decimal(18, 3)), 0) as duration_seconds,
        events.occurred_at::date as occurred_on,
        events.known_at::date as known_on,
        max(events.occurred_at) as last_occurred_at,
        {%- for event_type in recency_event_types() %}
        max(events.occurred_at) filter (where events.event_type = '{{ event_type }}') as last_{{ event_type }}_at,
        {%- endfor %}
        min(events.occurred_at) as first_occurred_at
    from events
    group by events.user_id, events.occurred_at::date, events.known_at::date
),

-- A day has several tiles where some of its events came late. It counts as one active day, with its earliest tile.
counted as (
    select
        daily.*,
        (
            row_number() over (partition by daily.user_id, daily.occurred_on order by daily.known_on) = 1
        )::integer as active_day_count
    from daily
)

select * from counted
