-- One row a user and snapshot: session counts, length and depth, from the session tiles known by then.
with snapshots as (
    select * from {{ ref('int_users__snapshots') }}
),

events as (
    select * from {{ ref('int_events__imputed') }}
),

session_days as (
    select
        events.user_id,
        events.session_id,
        count(*) as event_count,
        bool_or(events.event_type = 'purchase') as has_purchase,
        events.occurred_at::date as occurred_on,
        events.known_at::date as known_on,
        min(events.occurred_at) as started_at,
        max(events.occurred_at) as ended_at
    from events
    group by events.user_id, events.session_id, events.occurred_at::date, events.known_at::date
),

sessions as (
    select
        snapshots.user_id,
        snapshots.as_of,
        sum(session_days.event_count)::integer as event_count,
        bool_or(session_days.has_purchase) as has_purchase,
        min(session_days.started_at) as started_at,
        date_diff('millisecond', min(session_days.started_at), max(session_days.ended_at)) as length_milliseconds
    from snapshots
    inner join session_days
        on
            snapshots.user_id = session_days.user_id
            and {{ known_before('session_days', 'snapshots') }}
            and session_days.occurred_on >= {{ window_start(windows() | max) }}
    group by snapshots.user_id, snapshots.as_of, session_days.session_id
),

measured as (
    select
        sessions.user_id,
        {%- for days in windows() %}
        {%- set window = 'filter (where sessions.started_at >= ' ~ window_start(days, 'sessions') ~ ')' %}
        count(*) {{ window }}::integer as session_count_{{ days }}d,
        count(*) filter (
            where sessions.has_purchase and sessions.started_at >= {{ window_start(days, 'sessions') }}
        )::integer as purchase_session_count_{{ days }}d,
        avg(sessions.event_count) {{ window }} as session_event_count_mean_{{ days }}d,
        avg(sessions.length_milliseconds) {{ window }} / 1000.0 as session_seconds_mean_{{ days }}d,
        avg((sessions.event_count = 1)::integer) {{ window }} as bounce_share_{{ days }}d,
        {%- endfor %}
        sessions.as_of
    from sessions
    group by sessions.user_id, sessions.as_of
)

select * from measured
