-- One row a user, day, and time in which the events may be seen: events by part of the day, and how long views lasted.
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- if is_grown %}
{{ replaces(
    '(user_id, occurred_on) in (select (user_id, occurred_on) from ' ~ changed_rows('int_events__imputed') ~ ')'
) }}
{%- endif %}
with events as (
    select
        *,
        hour(occurred_at) // 4 as daypart,
        occurred_at::date as occurred_on
    from {{ ref('int_events__imputed') }}
    {%- if is_grown %}
    where
        (user_id, occurred_at::date) in (
            select (user_id, occurred_on) from {{ changed_rows('int_events__imputed') }}
        )
    {%- endif %}
),

hours as (
    select
        user_id,
        {%- for daypart in dayparts() %}
        sum((daypart = {{ loop.index0 }})::utinyint)::bigint as {{ daypart }}_count,
        {%- endfor %}
        count(*) as event_count,
        sum(duration_seconds::decimal(18, 3)) filter (where event_type = 'view') as view_seconds,
        count(duration_seconds) filter (where event_type = 'view') as timed_view_count,
        occurred_on,
        known_on,
        hidden_on
    from events
    group by user_id, occurred_on, known_on, hidden_on
)

select * from hours
