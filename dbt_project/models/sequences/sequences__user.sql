-- One row a user and snapshot: the last events known before it, oldest first, as parallel lists.
-- Each user's whole history is one row of lists; a snapshot picks from it by position. Windows or ordered lists for
-- each snapshot would need many times the memory.
with snapshots as (
    select * from {{ ref('int_users__snapshots') }}
),

events as (
    select
        *,
        row_number() over (partition by user_id order by occurred_at, row_id) as event_number
    from {{ ref('int_events__imputed') }}
),

histories as (
    select
        events.user_id,
        list(events.event_type order by events.event_number) as event_types,
        list(events.item_id order by events.event_number) as item_ids,
        list(events.category_id order by events.event_number) as category_ids,
        list(events.price order by events.event_number) as prices,
        list(epoch_ms(events.occurred_at) order by events.event_number) as occurred_ms,
        list(events.known_at order by events.event_number) as known_ats,
        count(*) filter (where events.known_at::date > events.occurred_at::date) as late_count
    from events
    group by events.user_id
),

-- An as-of join takes any one of several rows of one instant, so there has to be one row an instant.
instants as (
    select
        events.user_id,
        events.occurred_at,
        max(events.event_number) as last_number
    from events
    group by events.user_id, events.occurred_at
),

ends as (
    select
        snapshots.user_id,
        snapshots.as_of,
        instants.last_number
    from snapshots
    asof inner join instants
        on snapshots.user_id = instants.user_id and snapshots.as_of > instants.occurred_at
),

-- Of the events that happened before as_of, only those loaded on a later day may be hidden from it: looking back
-- late_count further is enough.
picked as (
    select
        ends.user_id,
        ends.as_of,
        histories.event_types,
        histories.item_ids,
        histories.category_ids,
        histories.prices,
        histories.occurred_ms,
        list_filter(
            range(
                greatest(ends.last_number - histories.late_count - {{ setting('sequence_length') }}, 0) + 1,
                ends.last_number + 1
            ),
            lambda position: histories.known_ats[position] < ends.as_of
        )[-{{ setting('sequence_length') }}:] as positions
    from ends
    inner join histories
        on ends.user_id = histories.user_id
),

selected as (
    select
        picked.user_id,
        list_select(picked.event_types, picked.positions) as event_types,
        list_select(picked.item_ids, picked.positions) as item_ids,
        list_select(picked.category_ids, picked.positions) as category_ids,
        list_select(picked.prices, picked.positions) as prices,
        list_select(picked.occurred_ms, picked.positions) as occurred_ms,
        picked.as_of
    from picked
),

sequences as (
    select
        user_id,
        event_types,
        item_ids,
        category_ids,
        prices,
        list_transform(
            range(1, len(occurred_ms) + 1),
            lambda position: case
                when position = 1 then 0
                else (occurred_ms[position] - occurred_ms[position - 1]) / 1000.0
            end
        ) as gaps_seconds,
        (epoch_ms(as_of) - occurred_ms[-1]) / 1000.0 as seconds_since_last_event,
        as_of
    from selected
)

select * from sequences
