-- Usable rows that were told to be copies of a row that was kept.
with events as (
    select * from {{ ref('stg_events') }}
),

matched as (
    {{ followed_to_kept('int_events__matched') }}
),

duplicates as (
    select
        matched.row_id,
        matched.kept_row_id,
        matched.matched_by,
        {{ columns_of('events', 'events') }}
    from matched
    inner join events
        on matched.row_id = events.row_id
)

select * from duplicates
