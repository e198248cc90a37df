-- One row a user, query and day on which the user searched for it, in the kept log. It is the last such day for the
-- snapshots up to hidden_on, the next one: so a distinct count is a plain sum.
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- set touched = 'user_id in (select user_id from ' ~ (changed_rows('int_events__imputed') if is_grown) ~ ')' %}

{%- if is_grown %}
{{ replaces(touched) }}
{%- endif %}
with days as (
    select distinct
        user_id,
        {{ query_text('query') }} as query,
        occurred_at::date as occurred_on
    from {{ ref('int_events__imputed') }}
    where
        is_kept
        and event_type = 'search'
        and query is not null {%- if is_grown %}
        and {{ touched }} {%- endif %}
),

queries as (
    select
        user_id,
        query,
        occurred_on,
        coalesce(
            lead(occurred_on) over (partition by user_id, query order by occurred_on), {{ end_of_time() }}
        ) as hidden_on
    from days
)

select * from queries
