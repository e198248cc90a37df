-- Which usable rows are copies of which: one row a duplicate, with the rule that matched and the row that was kept.
-- Among copies the first one known wins: what an earlier snapshot has seen never changes later.
with events as (
    select
        *,
        coalesce(loaded_at, occurred_at) as known_at,
        md5(
            concat_ws(
                chr(31),
                {%- for column in contract_columns('events') if column not in ('event_id', 'loaded_at') %}
                coalesce({{ column }}::varchar, chr(30)){{ ',' if not loop.last }}
                {%- endfor %}
            )
        ) as content_hash
    from {{ ref('stg_events') }}
    where rejection_reason is null
),

by_event_id as (
    select
        row_id,
        first_value(row_id) over (partition by event_id order by known_at, occurred_at, row_id) as winner_row_id
    from events
    where event_id is not null
),

redelivered as (
    select * from by_event_id
    where winner_row_id <> row_id
),

with_one_event_id as (
    select events.*
    from events
    anti join redelivered on events.row_id = redelivered.row_id
),

-- Two rows with ids of their own are two events, however alike; a row without id copies any row of its content.
by_content as (
    select
        row_id,
        event_id,
        first_value(row_id) over (
            partition by content_hash
            order by event_id is null, known_at, row_id
        ) as winner_row_id
    from with_one_event_id
),

copied as (
    select
        row_id,
        winner_row_id
    from by_content
    where event_id is null and winner_row_id <> row_id
),

with_one_content as (
    select with_one_event_id.*
    from with_one_event_id
    anti join copied on with_one_event_id.row_id = copied.row_id
),

-- A chain of events of one user, item and type, each within the gap of the one before, is one event: its first.
stepped as (
    select
        row_id,
        user_id,
        item_id,
        event_type,
        occurred_at,
        coalesce(
            occurred_at > lag(occurred_at) over same_event + interval '{{ setting('near_duplicate_seconds') }} seconds',
            true
        ) as is_chain_head
    from with_one_content
    where item_id is not null and {{ setting('near_duplicate_seconds') }} > 0
    window same_event as (partition by user_id, item_id, event_type order by occurred_at, row_id)
),

chained as (
    select
        row_id,
        last_value(case when is_chain_head then row_id end ignore nulls) over (
            partition by user_id, item_id, event_type
            order by occurred_at, row_id
            rows between unbounded preceding and current row
        ) as winner_row_id
    from stepped
),

near as (
    select * from chained
    where winner_row_id <> row_id
),

losers as (
    select
        *,
        'event_id' as matched_by
    from redelivered
    union all
    select
        *,
        'content' as matched_by
    from copied
    union all
    select
        *,
        'near' as matched_by
    from near
),

-- A winner may lose to a later rule: follow it to the row that was kept.
resolved as (
    select
        losers.row_id,
        coalesce(later_winners.winner_row_id, winners.winner_row_id, losers.winner_row_id) as kept_row_id,
        losers.matched_by
    from losers
    left join losers as winners
        on losers.winner_row_id = winners.row_id
    left join losers as later_winners
        on winners.winner_row_id = later_winners.row_id
)

select * from resolved
