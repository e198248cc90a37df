-- One row a user: the day on which the first event was known that brings a user into the snapshots.
{{ config(materialized='table') }}

with events as (
    select * from {{ ref('int_events__imputed') }}
),

users as (
    select
        events.user_id,
        min(events.known_on) as first_known_on
    from events
    {%- if setting('population_event_type') %}
    where events.event_type = '{{ setting('population_event_type') }}'
    {%- endif %}
    group by events.user_id
)

select * from users
