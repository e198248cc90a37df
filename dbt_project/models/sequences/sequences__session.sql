-- One row a session and snapshot, of the sessions of features__session: its last events known before the snapshot,
-- oldest first, as parallel lists.
with events as (
    {{ events_of_sessions() }}
),

histories as (
    {{ event_lists('events', ['user_id', 'session_id', 'as_of']) }}
),

picked as (
    select
        histories.user_id,
        histories.session_id,
        {{ sequence_ending_at('histories', 'len(histories.occurred_us)') }},
        histories.as_of
    from histories
),

sequences as (
    select
        user_id,
        session_id,
        {{ sequence_of_picked() }},
        as_of
    from picked
)

select * from sequences
