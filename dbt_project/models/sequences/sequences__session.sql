-- One row a session and snapshot, of the sessions of features__session: its last events known before the snapshot,
-- oldest first, as parallel lists.
with events as (
    {{ events_of_sessions() }}
),

{{ sequences_of('events', ['user_id', 'session_id', 'as_of']) }}

select * from sequences
