-- One row a user, day, and time in which the events may be seen: the tiles that counts and sums are made of.
-- Money and durations are added up as decimals: a sum of doubles would change with the order of the rows.
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
        occurred_at::date as occurred_on
    from {{ ref('int_events__imputed') }}
    {%- if is_grown %}
    where
        (user_id, occurred_at::date) in (
            select (user_id, occurred_on) from {{ changed_rows('int_events__imputed') }}
        )
    {%- endif %}
),

daily as (
    select
        events.user_id,
        count(*) as event_count,
        {%- for event_type in counted_event_types() %}
        sum((events.event_type = '{{ event_type }}')::utinyint)::bigint as {{ event_type }}_count,
        {%- endfor %}
        coalesce(
            sum((events.price * coalesce(events.quantity, 1))::decimal(18, 4)) filter (
                where events.event_type = 'purchase'
            ), 0
        )::decimal(18, 4) as purchase_value,
        coalesce(sum(events.duration_seconds::decimal(18, 3)), 0)::decimal(18, 3) as duration_seconds,
        events.occurred_on,
        events.known_on,
        events.hidden_on,
        max(events.occurred_at) as last_occurred_at,
        {%- for event_type in recency_event_types() %}
        max(events.occurred_at) filter (where events.event_type = '{{ event_type }}') as last_{{ event_type }}_at,
        {%- endfor %}
        min(events.occurred_at) as first_occurred_at
    from events
    group by events.user_id, events.occurred_on, events.known_on, events.hidden_on
),

-- A day has several tiles where some of its events came late or were replaced. As an active day it counts once, from
-- when the first of them was known.
tiles_of_days as (
    select
        user_id,
        occurred_on,
        min(known_on) as known_on,
        max(hidden_on) as hidden_on,
        count(*) as tile_count
    from daily
    group by user_id, occurred_on
),

counted as (
    select
        daily.*,
        (tiles_of_days.tile_count = 1)::bigint as active_day_count
    from daily
    inner join tiles_of_days
        on daily.user_id = tiles_of_days.user_id and daily.occurred_on = tiles_of_days.occurred_on
    union all by name
    select
        user_id,
        occurred_on,
        known_on,
        hidden_on,
        1 as active_day_count
    from tiles_of_days
    where tile_count > 1
)

select * from counted
