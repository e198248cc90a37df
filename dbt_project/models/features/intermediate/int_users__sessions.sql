-- One row a user and snapshot: session counts, length, depth and patterns. A session lies in a window if it started in
-- it.
{%- set sums = {
    'session_count': 'integer',
    'purchase_session_count': 'integer',
    'bounce_count': 'integer',
    'session_event_count': 'bigint',
    'session_milliseconds': 'bigint',
} %}
{%- for pattern in session_patterns() %}
{%- do sums.update({pattern ~ '_session_count': 'integer'}) %}
{%- endfor %}
with {{ settled_snapshots() }},

unsettled_events as (
    {{ events_of_unsettled() }}
),

sessions as (
    select
        *,
        true as is_settled
    from {{ ref('int_users__session_days') }}
    where {{ in_bucket('user_id') }}
    union all by name
    select
        user_id,
        session_id,
        {{ session_measures() }},
        false as is_settled,
        {{ only_at('as_of') }}
    from unsettled_events
    group by user_id, session_id, as_of
),

tiles as (
    select
        user_id,
        is_settled,
        1 as session_count,
        (purchase_count > 0)::utinyint as purchase_session_count,
        (event_count = 1)::utinyint as bounce_count,
        {%- for pattern in session_patterns() %}
        (pattern = '{{ pattern }}')::utinyint as {{ pattern }}_session_count,
        {%- endfor %}
        event_count as session_event_count,
        date_diff('millisecond', started_at, ended_at) as session_milliseconds,
        started_at::date as occurred_on,
        known_on,
        hidden_on
    from (select *, {{ session_pattern() }} as pattern from sessions)
),

{{ windowed('snapshots', 'tiles', ['user_id', 'is_settled'], sums=sums) }},

measured as (
    select
        user_id,
        {%- for days in windows() %}
        session_count_{{ days }}d,
        purchase_session_count_{{ days }}d,
        session_event_count_{{ days }}d / nullif(session_count_{{ days }}d, 0) as session_event_count_mean_{{ days }}d,
        session_milliseconds_{{ days }}d
        / nullif(session_count_{{ days }}d, 0) / 1000.0 as session_seconds_mean_{{ days }}d,
        bounce_count_{{ days }}d / nullif(session_count_{{ days }}d, 0) as bounce_share_{{ days }}d,
        {%- endfor %}
        {%- for window in profile_suffixes() %}
        {%- for pattern in session_patterns() %}
        {{ pattern }}_session_count_{{ window }}
        / nullif(session_count_{{ window }}, 0) as {{ pattern }}_session_share_{{ window }},
        {%- endfor %}
        {%- endfor %}
        as_of
    from windowed
)

select * from measured
