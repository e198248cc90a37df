{#
    The CTEs that tell settled snapshots from unsettled ones (see int_users__unsettled); the last is `snapshots`, narrowed
    to those that are due, with is_settled as a second key.

    What cannot be added up from tiles (distinct things, sessions, gaps between days) is computed of the kept log once for
    all settled snapshots, and for each unsettled one of the events that it saw.

    by_bucket: take one part of the users at a time. Not where a row depends on other users' rows.
#}
{% macro settled_snapshots(by_bucket=true) -%}
other_histories as (
    select * from {{ ref('int_users__unsettled') }} as unsettled
    where
        {{ foretable.due('unsettled') }}
        {%- if by_bucket %}
        and {{ foretable.in_bucket('unsettled.user_id') }}
        {%- endif %}
),

snapshots as (
    select
        snapshots.user_id,
        other_histories.user_id is null as is_settled,
        snapshots.as_of
    from {{ ref('int_users__snapshots') }} as snapshots
    left join other_histories
        on snapshots.user_id = other_histories.user_id and snapshots.as_of = other_histories.as_of
    where
        {{ foretable.due('snapshots') }}
        {%- if by_bucket %}
        and {{ foretable.in_bucket('snapshots.user_id') }}
        {%- endif %}
)
{%- endmacro %}


{# The events that each unsettled snapshot saw, with its as_of. #}
{% macro events_of_unsettled(by_bucket=true) -%}
    select * from {{ ref('int_users__unsettled_events') }} as events
    where
        {{ foretable.due('events') }}
        {%- if by_bucket %}
        and {{ foretable.in_bucket('events.user_id') }}
        {%- endif %}
{%- endmacro %}


{# known_on and hidden_on of a row that one snapshot sees and no other. #}
{% macro only_at(as_of) -%}
    {{ as_of }}::date - 1 as known_on,
    {{ as_of }}::date as hidden_on
{%- endmacro %}


{#
    How a table of unsettled snapshots grows: it looks at the pairs of a user and a snapshot that are new, and at those of
    users of whom a row changed that an old snapshot may have seen. A late row unsettles old snapshots of its user without
    being seen by them. Marks the model's SQL with what it replaces, and with the snapshots that it knows by then.
#}
{% macro of_unsettled(is_grown) -%}
    {{ foretable.keeps_state(foretable.instants_of_grid()) }}
    {%- if is_grown %}
    {{ foretable.replaces(
        'as_of not in (select as_of from ' ~ foretable.grid() ~ ') or ' ~ foretable.is_looked_at('as_of', 'user_id')
    ) }}
    {%- endif %}
{%- endmacro %}


{% macro is_looked_at(as_of, user_id) -%}
    {%- set known = foretable.last_build()['state'] or "timestamp '0001-01-01'" -%}
    (
        {{ as_of }} not in ({{ known }})
        or {{ user_id }} in (
            select user_id from {{ foretable.changed_rows('int_events__imputed') }}
            where occurred_on < greatest({{ known }})
        )
    )
{%- endmacro %}
