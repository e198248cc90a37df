-- One row an unsettled snapshot and event that it saw. What is computed of such snapshots reads these rows instead of
-- the whole log.
-- depends_on: {{ ref('int_snapshots__grid') }}
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{{ of_unsettled(is_grown) }}
with unsettled as (
    select unsettled.* from {{ ref('int_users__unsettled') }} as unsettled
    semi join {{ ref('int_users__snapshots') }} as snapshots
        on unsettled.user_id = snapshots.user_id and unsettled.as_of = snapshots.as_of
    {%- if is_grown %}
    where {{ is_looked_at('unsettled.as_of', 'unsettled.user_id') }}
    {%- endif %}
),

seen as (
    select
        events.* exclude (known_on, hidden_on, is_kept),
        unsettled.as_of
    from {{ ref('int_events__imputed') }} as events
    inner join unsettled
        on events.user_id = unsettled.user_id and {{ known_before('events', 'unsettled') }}
)

select * from seen
