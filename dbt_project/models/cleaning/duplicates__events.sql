-- Usable rows that were told to be copies of a row that was kept.
with recursive events as (
    select * from {{ ref('stg_events') }}
),

matched as (
    select * from {{ ref('int_events__matched') }}
),

-- A winner may lose to another row: follow it to the row that was kept.
followed as (
    select
        row_id,
        winner_row_id,
        matched_by
    from matched
    union
    select
        followed.row_id,
        matched.winner_row_id,
        followed.matched_by
    from followed
    inner join matched
        on followed.winner_row_id = matched.row_id
),

resolved as (
    select followed.*
    from followed
    anti join matched
        on followed.winner_row_id = matched.row_id
),

duplicates as (
    select
        resolved.row_id,
        resolved.winner_row_id as kept_row_id,
        resolved.matched_by,
        {{ columns_of('events', 'events') }}
    from resolved
    inner join events
        on resolved.row_id = events.row_id
)

select * from duplicates
