-- One row an event that happened.
{{ config(materialized='view') }}

with events as (
    select * from {{ ref('stg_events') }}
    where rejection_reason is null
),

matched as (
    select * from {{ ref('int_events__matched') }}
),

deduplicated as (
    select
        events.row_id,
        {{ columns_of('events', 'events') }}
    from events
    anti join matched
        on events.row_id = matched.row_id
)

select * from deduplicated
