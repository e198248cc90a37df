-- One row a session and day of it, in the kept log: what the session had come to by the end of that day. It stands for
-- the session in the snapshots up to hidden_on, the next day on which the session went on.
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

days as (
    select
        user_id,
        session_id,
        {{ session_measures() }},
        occurred_at::date as known_on
    from events
    group by user_id, session_id, occurred_at::date
),

sums as (
    select
        user_id,
        session_id,
        {%- for column in session_counts() %}
        sum({{ column }}) over so_far as {{ column }},
        {%- endfor %}
        known_on,
        coalesce(
            lead(known_on) over (partition by user_id, session_id order by known_on), {{ end_of_time() }}
        ) as hidden_on,
        min(started_at) over so_far as started_at,
        max(ended_at) over so_far as ended_at
    from days
    window so_far as (
        partition by user_id, session_id
        order by known_on
        rows between unbounded preceding and current row
    )
)

select * from sums
