-- One row a user and snapshot that saw another history than the log tells today, with the last events it saw, oldest
-- first, as parallel lists.
with {{ settled_snapshots() }},

unsettled_events as (
    {{ events_of_unsettled() }}
),

{{ sequences_of('unsettled_events', ['user_id', 'as_of']) }}

select * from sequences
