-- One row a user and block of as many kept events as a sequence has at most, oldest first, as parallel lists. A
-- sequence ends in one block and starts in the same or the one before, so that a user with a million events costs no
-- more than others do. What a whole table needs is collected a bucket of users at a time.
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

numbered as (
    select
        events.user_id,
        {{ listed_fields('events', 'lag(epoch_us(events.occurred_at)) over history') }},
        row_number() over history as ordinal,
        ((ordinal - 1) // {{ setting('sequence_length') }})::integer as block
    from events
    window history as (partition by events.user_id order by events.occurred_at, events.row_id)
),

histories as (
    {{ event_lists('numbered', ['user_id', 'block']) }}
)

select * from histories
