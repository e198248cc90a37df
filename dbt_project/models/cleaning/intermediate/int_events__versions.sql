-- Which usable rows are versions of one event: one row each of those that share their id, with the version that stands
-- today, and when this one gave way. Of versions the latest load stands; one that says the same as the one before it
-- was never seen.
{{ config(
    materialized='grown', identity='all', log=['row_id', 'user_id', 'item_id', 'event_type', 'occurred_at']
) }}

{%- set is_grown = grows() %}
{%- set touched = 'event_id in (select event_id from ' ~ (changed_rows('stg_events') if is_grown) ~ ')' %}

{%- if is_grown %}
{{ replaces(touched) }}
{%- endif %}
with events as not materialized (
    select
        *,
        greatest(occurred_at, coalesce(loaded_at, occurred_at)) as known_at
    from {{ ref('stg_events') }}
    where
        rejection_reason is null
        and event_id is not null
        and {{ 'event_id' in setting('duplicate_rules') }} {%- if is_grown %}
        and {{ touched }} {%- endif %}
),

repeated_ids as (
    select event_id
    from events
    group by event_id
    having count(*) > 1
),

hashed as (
    select
        events.row_id,
        events.event_id,
        events.user_id,
        events.event_type,
        events.item_id,
        {{ content_hash('events', 'events') }} as content_hash,
        events.occurred_at,
        events.known_at
    from events
    semi join repeated_ids
        on events.event_id = repeated_ids.event_id
),

compared as (
    select
        *,
        coalesce(content_hash = lag(content_hash) over so_far, false) as is_redelivered,
        case when occurred_at <> lag(occurred_at) over so_far then 1 else 0 end as is_moved
    from hashed
    window so_far as (partition by event_id order by known_at, row_id)
),

-- What is told of a version by those before it is fixed once it is known: its event's first, and how often it moved.
versions as (
    select
        row_id,
        user_id,
        event_type,
        item_id,
        event_id,
        first_value(row_id) over so_far as first_row_id,
        last_value(case when not is_redelivered then row_id end ignore nulls) over all_of_them as winner_row_id,
        sum(is_moved) over so_far as move_count,
        is_redelivered,
        occurred_at,
        first_value(known_at) over so_far as first_known_at,
        case
            when is_redelivered then known_at
            else first_value(case when not is_redelivered then known_at end ignore nulls) over later
        end as hidden_at
    from compared
    window
        so_far as (
            partition by event_id
            order by known_at, row_id
            rows between unbounded preceding and current row
        ),
        later as (
            partition by event_id
            order by known_at, row_id
            rows between 1 following and unbounded following
        ),
        all_of_them as (
            partition by event_id
            order by known_at, row_id
            rows between unbounded preceding and unbounded following
        )
)

select * from versions
