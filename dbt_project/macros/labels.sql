{#
    A label: does an event happen in [as_of, as_of + days)? NULL where the window reaches past the end of the log.
    It is read from the kept log: what happened, whenever it became known.

    column: the label's name. days: the horizon, also config(lookahead_days=…). event_type: only events of this type;
    none: of any type. negate: true for "does no event happen".
#}
{% macro event_within(column, days, event_type=none, negate=false) %}
with snapshots as (
    select
        snapshots.user_id,
        snapshots.as_of,
        grid.log_ends_at
    from {{ ref('int_users__snapshots') }} as snapshots
    inner join {{ ref('int_snapshots__grid') }} as grid
        on snapshots.as_of = grid.as_of
    where {{ foretable.due('snapshots') }}
),

events as (
    select
        user_id,
        occurred_at
    from {{ ref('int_events__imputed') }}
    where
        is_kept
        {%- if event_type %}
        and event_type = '{{ event_type }}'
        {%- endif %}
),

next_events as (
    select
        snapshots.user_id,
        snapshots.as_of,
        snapshots.log_ends_at,
        events.occurred_at as next_occurred_at
    from snapshots
    asof left join events
        on snapshots.user_id = events.user_id and snapshots.as_of <= events.occurred_at
),

labelled as (
    select
        next_events.user_id,
        case
            when next_events.as_of + interval '{{ days }} days' <= next_events.log_ends_at
                then {{ 'not ' if negate }}coalesce(
                    next_events.next_occurred_at < next_events.as_of + interval '{{ days }} days', false
                )
        end as {{ column }},
        next_events.as_of
    from next_events
)

select * from labelled
{% endmacro %}
