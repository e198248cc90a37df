-- One row a user and snapshot that saw another history than the log tells today, with the last events it saw, oldest
-- first, as parallel lists.
-- depends_on: {{ ref('int_snapshots__grid') }}
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{{ of_unsettled(is_grown) }}
with events as (
    select * from {{ ref('int_users__unsettled_events') }}
    where
        {{ in_bucket('user_id') }} {%- if is_grown %}
        and {{ is_looked_at('as_of', 'user_id') }} {%- endif %}
),

{{ sequences_of('events', ['user_id', 'as_of']) }}

select * from sequences
