-- One row a user and snapshot that saw another history than the log tells today, with the last events it saw, oldest
-- first, as parallel lists. A late row unsettles old snapshots of its user without being seen by them: so a run looks
-- at all snapshots of the users whose log changed, and at all users of the snapshots that are new.
-- depends_on: {{ ref('int_snapshots__grid') }}
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- set touched = '(select user_id from ' ~ (changed_rows('int_events__imputed') if is_grown) ~ ')' %}
{{ keeps_state(instants_of_grid()) }}

{%- if is_grown %}
{{ replaces(
    'user_id in ' ~ touched ~ ' or as_of not in (select as_of from ' ~ grid() ~ ')'
    ~ ' or as_of not in (' ~ last_build()['state'] ~ ')'
) }}
{%- endif %}
with unsettled as (
    select unsettled.* from {{ ref('int_users__unsettled') }} as unsettled
    where
        {{ in_bucket('unsettled.user_id') }} {%- if is_grown %}
        and (unsettled.user_id in {{ touched }} or unsettled.as_of not in ({{ last_build()['state'] }})) {%- endif %}
),

events as (
    select
        events.*,
        unsettled.as_of
    from {{ ref('int_events__imputed') }} as events
    inner join unsettled
        on events.user_id = unsettled.user_id and {{ known_before('events', 'unsettled') }}
    semi join {{ ref('int_users__snapshots') }} as snapshots
        on unsettled.user_id = snapshots.user_id and unsettled.as_of = snapshots.as_of
),

{{ sequences_of('events', ['user_id', 'as_of']) }}

select * from sequences
