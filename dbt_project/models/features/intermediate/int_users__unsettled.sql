-- One row a user and snapshot that saw another history than the log tells today: an event that had happened was not
-- known yet, or a row was seen that has been replaced since. For all other snapshots the kept events before as_of are
-- what was known, and what is computed of them need not ask when they became known.
-- depends_on: {{ ref('int_snapshots__grid') }}
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{{ of_unsettled(is_grown) }}
with events as (
    select * from {{ ref('int_events__imputed') }}
    where known_on > occurred_at::date or not is_kept
),

snapshots as (
    select * from {{ ref('int_snapshots__grid') }}
),

unsettled as (
    select
        events.user_id,
        snapshots.as_of
    from events
    inner join snapshots
        on
            events.occurred_at::date < snapshots.as_of
            and snapshots.as_of <= case when events.is_kept then events.known_on else events.hidden_on end
    {%- if is_grown %}
    where {{ is_looked_at('snapshots.as_of', 'events.user_id') }}
    {%- endif %}
    group by events.user_id, snapshots.as_of
)

select * from unsettled
