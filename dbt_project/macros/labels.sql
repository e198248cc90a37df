{#
    Labels: one row a user and snapshot, with what comes in [as_of, as_of + days). NULL where this window reaches past the
    end of the log. They are read from the kept log: what happened, whenever it became known.

    column: the label's name. days: the horizon, also config(lookahead_days=…). event_type: only events of this type;
    none: of any type.
#}


{# Does an event happen? negate: true for "does no event happen". #}
{% macro event_within(column, days, event_type=none, negate=false) %}
{%- set outcome -%}
    {{ 'not ' if negate }}coalesce(events.occurred_at < snapshots.as_of + interval '{{ days }} days', false)
{%- endset -%}
{{ foretable.next_event_label(column, days, event_type, outcome) }}
{% endmacro %}


{# How many days pass until the first event, as a DOUBLE; the horizon itself says that none happens within it. #}
{% macro days_until(column, days, event_type=none) %}
{%- set outcome -%}
    coalesce(
        least(date_diff('microsecond', snapshots.as_of, events.occurred_at) / 86400000000.0, {{ days }}), {{ days }}
    )::double
{%- endset -%}
{{ foretable.next_event_label(column, days, event_type, outcome) }}
{% endmacro %}


{#
    What are the purchases worth in all, price times quantity as in purchase_value_…? 0 where there is none. Money is added
    up as decimals: a sum of doubles would change with the order of the rows.
#}
{% macro value_within(column, days) %}
{% call foretable.label_of(column, days, 'purchase') %}
    select
        snapshots.user_id,
        coalesce(sum((events.price * coalesce(events.quantity, 1))::decimal(18, 4)), 0)::double as outcome,
        snapshots.log_ends_at,
        snapshots.as_of
    from snapshots
    left join events
        on
            snapshots.user_id = events.user_id
            and snapshots.as_of <= events.occurred_at
            and events.occurred_at < snapshots.as_of + interval '{{ days }} days'
    group by snapshots.user_id, snapshots.log_ends_at, snapshots.as_of
{% endcall %}
{% endmacro %}


{# The label that the first event from as_of on decides: events.occurred_at, NULL where there is none. outcome: SQL. #}
{% macro next_event_label(column, days, event_type, outcome) %}
{% call foretable.label_of(column, days, event_type) %}
    select
        snapshots.user_id,
        {{ outcome }} as outcome,
        snapshots.log_ends_at,
        snapshots.as_of
    from snapshots
    asof left join events
        on snapshots.user_id = events.user_id and snapshots.as_of <= events.occurred_at
{% endcall %}
{% endmacro %}


{#
    The SELECT of a label. Its caller gives the query of the outcomes (user_id, outcome, log_ends_at, as_of) from the CTEs
    `snapshots` and `events`.
#}
{% macro label_of(column, days, event_type) %}
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
    select * from {{ ref('int_events__imputed') }}
    where
        is_kept
        {%- if event_type %}
        and event_type = '{{ event_type }}'
        {%- endif %}
),

outcomes as (
    {{- caller() -}}
),

labelled as (
    select
        user_id,
        case when as_of + interval '{{ days }} days' <= log_ends_at then outcome end as {{ column }},
        as_of
    from outcomes
)

select * from labelled
{% endmacro %}
