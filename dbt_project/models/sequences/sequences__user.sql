-- One row a user and snapshot: the last events known before it, oldest first, as parallel lists.
-- A snapshot that saw what the log tells today reads them from the user's history: up to as many events as it counts.
-- A view names no catalog: a warehouse that is copied, renamed or attached still reads its own tables.
{{ config(materialized='view') }}

{%- set length = setting('sequence_length') %}
with unsettled as (
    select * from {{ ref('int_users__unsettled_sequences').include(database=false) }}
),

histories as (
    select * from {{ ref('int_users__histories').include(database=false) }}
),

ends as (
    select
        activity.user_id,
        (activity.event_count_lifetime - 1) // {{ length }} as block,
        (activity.event_count_lifetime - 1) % {{ length }} + 1 as place,
        activity.as_of
    from {{ ref('int_users__activity').include(database=false) }} as activity
    anti join unsettled
        on activity.user_id = unsettled.user_id and activity.as_of = unsettled.as_of
),

settled as (
    select
        ends.user_id,
        {%- for column in list_columns() %}
        list_concat(
            list_slice(earlier.{{ column }}, ends.place + 1, {{ length }}),
            list_slice(latest.{{ column }}, 1, ends.place)
        ) as {{ column }},
        {%- endfor %}
        (epoch_us(ends.as_of) - latest.occurred_us[ends.place]) / 1000000.0 as seconds_since_last_event,
        ends.as_of
    from ends
    inner join histories as latest
        on ends.user_id = latest.user_id and ends.block = latest.block
    left join histories as earlier
        on ends.user_id = earlier.user_id and ends.block - 1 = earlier.block
),

together as (
    select * replace ({{ without_first_gap('gaps_seconds') }} as gaps_seconds) from settled
    union all by name
    select * from unsettled
),

sequences as (
    select
        user_id,
        {%- for column in list_columns() %}
        {{ column }},
        {%- endfor %}
        seconds_since_last_event,
        as_of
    from together
)

select * from sequences
