-- One row a session, day and category that a search led to, in the kept log: how many searches did. A search leads to
-- the category of the session's next event, if that event has one.
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- set touched = '(user_id, session_id) in (select (user_id, session_id) from '
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

searched as (
    {{ searched_topics('events', ['user_id']) }}
),

topics as (
    select
        user_id,
        session_id,
        topic,
        count(*) as search_count,
        occurred_on
    from searched
    group by user_id, session_id, topic, occurred_on
)

select * from topics
