-- The snapshot grid: one row an as_of, always a midnight. Snapshots lie whole steps from the anchor, so that a longer
-- log adds some and moves none; the newest one, which gets scored, may lie between them.
-- is_training marks the snapshots that train under the default purged split (one validates, one tests).
with days as (
    select
        events.occurred_at::date as occurred_on,
        count(*) as event_count,
        min(events.occurred_at) as first_occurred_at,
        max(events.occurred_at) as last_occurred_at
    from {{ ref('stg_events') }} as events
    where events.rejection_reason is null
    group by events.occurred_at::date
),

counted as (
    select
        *,
        occurred_on - lag(occurred_on) over (order by occurred_on) as silent_days,
        sum(event_count) over (order by occurred_on) - event_count as earlier_event_count,
        sum(event_count) over () as all_event_count
    from days
),

-- Clocks that ran wrong put a few events decades before all others. The log begins after its last year of silence that
-- at most one event in a hundred lies before.
bounds as (
    select
        coalesce(
            max(first_occurred_at) filter (
                where silent_days > 365 and earlier_event_count <= greatest(all_event_count / 100, 1)
            ),
            min(first_occurred_at)
        ) as log_begins_at,
        {%- if setting('collected_to') %}
        timestamp '{{ setting('collected_to') }}'
        {%- else %}
        max(last_occurred_at)
        {%- endif %} as log_ends_at
    from counted
),

ends as (
    select
        bounds.log_begins_at,
        bounds.log_ends_at,
        bounds.log_begins_at + interval '{{ setting('history_days') }} days' as first_as_of,
        {%- if setting('newest_as_of') %}
        date_trunc('day', timestamp '{{ setting('newest_as_of') }}')
        {%- else %}
        date_trunc('day', bounds.log_ends_at)
        {%- endif %} as newest_as_of
    from bounds
),

-- Each step is counted from the anchor: stepping month by month would drift from the 31st to the 28th.
stepped as (
    select
        date_trunc(
            'day',
            timestamp '{{ setting('snapshot_anchor') }}' + steps.step * interval '{{ setting('snapshot_every') }}'
        ) as as_of,
        ends.*
    from ends
    cross join range(-20000, 20000) as steps (step)
),

candidates as (
    select
        stepped.as_of,
        stepped.first_as_of,
        stepped.newest_as_of,
        stepped.log_begins_at,
        stepped.log_ends_at
    from stepped
    where
        stepped.as_of <= stepped.newest_as_of
        and (
            stepped.as_of >= stepped.first_as_of {%- for first, last in backfills() %}
            or stepped.as_of between timestamp '{{ first }}' and timestamp '{{ last }}' {%- endfor %}
        )
    union
    select
        ends.newest_as_of as as_of,
        ends.first_as_of,
        ends.newest_as_of,
        ends.log_begins_at,
        ends.log_ends_at
    from ends
    where ends.newest_as_of is not null
),

grid as (
    select
        *,
        as_of + interval '{{ setting('horizons') | max }} days' as horizon_ends_at
    from candidates
),

testing as (
    select max(grid.as_of) as as_of from grid
    where grid.horizon_ends_at <= grid.log_ends_at
),

validating as (
    select max(grid.as_of) as as_of
    from grid
    cross join testing
    where grid.horizon_ends_at <= testing.as_of
),

snapshots as (
    select
        coalesce(grid.horizon_ends_at <= validating.as_of, false) as is_training,
        grid.as_of = grid.newest_as_of as is_newest,
        grid.as_of < grid.first_as_of and grid.as_of < grid.newest_as_of as is_backfilled,
        grid.as_of,
        grid.log_begins_at,
        grid.log_ends_at
    from grid
    cross join validating
)

select * from snapshots
