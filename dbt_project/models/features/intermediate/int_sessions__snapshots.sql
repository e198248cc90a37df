-- One row a session and snapshot, of the sessions that had started in the days before it, with their place among all
-- sessions of the user. Users may share a session's id: the user is part of the key.
with {{ days_before_snapshots(setting('session_days')) }},

{{ settled_snapshots() }},

active as (
    select
        events.user_id,
        days.as_of
    from {{ ref('int_events__imputed') }} as events
    inner join days
        on events.occurred_at::date = days.occurred_on and {{ known_before('events', 'days') }}
    group by events.user_id, days.as_of
),

settled as (
    select snapshots.*
    from snapshots
    semi join active
        on snapshots.user_id = active.user_id and snapshots.as_of = active.as_of
    where snapshots.is_settled
),

unsettled_events as (
    {{ events_of_unsettled() }}
),

sessions as (
    select
        session_days.user_id,
        session_days.session_id,
        session_days.started_at,
        session_days.ended_at,
        settled.as_of
    from {{ ref('int_users__session_days') }} as session_days
    inner join settled
        on session_days.user_id = settled.user_id and {{ known_before('session_days', 'settled') }}
    union all
    select
        user_id,
        session_id,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        as_of
    from unsettled_events
    group by user_id, session_id, as_of
),

numbered as (
    select
        user_id,
        session_id,
        row_number() over in_time as session_number,
        started_at,
        ended_at,
        lag(started_at) over in_time as previous_started_at,
        as_of
    from sessions
    window in_time as (partition by user_id, as_of order by started_at, session_id)
),

started as (
    select * from numbered
    where started_at >= as_of - interval '{{ setting('session_days') }} days'
)

select * from started
