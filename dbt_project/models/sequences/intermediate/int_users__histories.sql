-- One row a user: all kept events, oldest first, as parallel lists. Lists that are ordered while they are collected
-- would need many times the memory, and all users at once too: so structs are collected and sorted, a bucket of users
-- at a time.
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- set touched = 'user_id in (select user_id from ' ~ (changed_rows('int_events__imputed') if is_grown) ~ ')' %}

{%- if is_grown %}
{{ replaces(touched) }}
{%- endif %}
with events as (
    select events.* from {{ ref('int_events__imputed') }} as events
    where
        events.is_kept
        and {{ in_bucket('events.user_id') }} {%- if is_grown %}
        and {{ touched }} {%- endif %}
),

histories as (
    {{ event_lists('events', ['user_id']) }}
)

select * from histories
