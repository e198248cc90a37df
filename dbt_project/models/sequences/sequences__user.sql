-- One row a user and snapshot: the last events known before it, oldest first, as parallel lists.
-- Each user's history is one row of lists; a settled snapshot takes the events up to its count of them.
with {{ settled_snapshots() }},

activity as (
    select
        activity.user_id,
        activity.event_count_lifetime,
        activity.as_of
    from {{ ref('int_users__activity') }} as activity
    where {{ due('activity') }}
),

settled as (
    select
        snapshots.user_id,
        {{ sequence_ending_at('histories', 'activity.event_count_lifetime') }},
        snapshots.as_of
    from snapshots
    inner join activity
        on snapshots.user_id = activity.user_id and snapshots.as_of = activity.as_of
    inner join {{ ref('int_users__histories') }} as histories
        on snapshots.user_id = histories.user_id
    where snapshots.is_settled
),

unsettled_events as (
    {{ events_of_unsettled() }}
),

unsettled_histories as (
    {{ event_lists('unsettled_events', ['user_id', 'as_of']) }}
),

unsettled as (
    select
        unsettled_histories.user_id,
        {{ sequence_ending_at('unsettled_histories', 'len(unsettled_histories.occurred_us)') }},
        unsettled_histories.as_of
    from unsettled_histories
),

picked as (
    select * from settled
    union all
    select * from unsettled
),

sequences as (
    select
        user_id,
        {{ sequence_of_picked() }},
        as_of
    from picked
)

select * from sequences
