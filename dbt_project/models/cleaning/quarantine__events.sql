-- Rows that cannot be used, as they came, each with its reason.
with events as (
    select * from {{ ref('stg_events') }}
),

rejected as (
    select
        events.row_id,
        events.event_id,
        events.user_id,
        events.rejection_reason,
        events.raw_text,
        events.loaded_at
    from events
    where events.rejection_reason is not null
)

select * from rejected
