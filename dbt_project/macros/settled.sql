{#
    The CTEs that tell settled snapshots from unsettled ones (see int_users__unsettled); the last is `snapshots`, narrowed
    to those that are due, with is_settled as a second key.

    What cannot be added up from tiles (distinct things, sessions, gaps between days) is computed of the kept log once for
    all settled snapshots, and for each unsettled one of the events that it saw.
#}
{% macro settled_snapshots() -%}
other_histories as (
    select * from {{ ref('int_users__unsettled') }} as unsettled
    where {{ foretable.due('unsettled') }}
),

snapshots as (
    select
        snapshots.user_id,
        other_histories.user_id is null as is_settled,
        snapshots.as_of
    from {{ ref('int_users__snapshots') }} as snapshots
    left join other_histories
        on snapshots.user_id = other_histories.user_id and snapshots.as_of = other_histories.as_of
    where {{ foretable.due('snapshots') }}
)
{%- endmacro %}


{# The events that each unsettled snapshot saw, with its as_of. #}
{% macro events_of_unsettled() -%}
    select
        events.*,
        snapshots.as_of
    from {{ ref('int_events__imputed') }} as events
    inner join snapshots
        on events.user_id = snapshots.user_id and {{ foretable.known_before('events', 'snapshots') }}
    where not snapshots.is_settled
{%- endmacro %}


{# known_on and hidden_on of a row that one snapshot sees and no other. #}
{% macro only_at(as_of) -%}
    {{ as_of }}::date - 1 as known_on,
    {{ as_of }}::date as hidden_on
{%- endmacro %}
