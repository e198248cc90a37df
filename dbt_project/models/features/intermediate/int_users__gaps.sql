-- One row a user, day of activity and day of activity before it (and the same for days of purchase), in the kept log.
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- set touched = 'user_id in (select user_id from ' ~ (changed_rows('int_events__imputed') if is_grown) ~ ')' %}

{%- if is_grown %}
{{ replaces(touched) }}
{%- endif %}
with events as (
    select
        user_id,
        occurred_at::date as occurred_on,
        bool_or(event_type = 'purchase') as has_purchase
    from {{ ref('int_events__imputed') }}
    where
        is_kept {%- if is_grown %}
        and {{ touched }} {%- endif %}
    group by user_id, occurred_at::date
),

gaps as (
    {{ gaps_between_days('events', ['user_id']) }}
)

select * from gaps
