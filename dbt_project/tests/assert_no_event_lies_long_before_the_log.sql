-- Events before a year of silence, few beside all others: their clocks ran wrong, most likely. They stay in the
-- features, and no snapshot of their time is made. The setting collected_from quarantines them; `foretable backfill`
-- makes snapshots of that time after all.
{{ config(severity='warn') }}

select
    events.row_id,
    events.event_id,
    events.user_id,
    events.occurred_at
from {{ ref('stg_events') }} as events
where
    events.rejection_reason is null
    and events.occurred_at < (select any_value(grid.log_begins_at) from {{ ref('int_snapshots__grid') }} as grid)
