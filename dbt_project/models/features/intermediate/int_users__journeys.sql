-- One row a user, item and day on which the user put it into the cart or bought it, in the kept log.
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- set touched = '(user_id, item_id) in (select (user_id, item_id) from '
    ~ (changed_rows('int_events__imputed') if is_grown) ~ ')' %}

{%- if is_grown %}
{{ replaces(touched) }}
{%- endif %}
with events as (
    select * from {{ ref('int_events__imputed') }}
    where
        is_kept {%- if is_grown %}
        and {{ touched }} {%- endif %}
),

journeys as (
    {{ journeys_of('events', ['user_id', 'item_id']) }}
)

select * from journeys
