-- One row a user, thing (item, category or brand) and day on which the user met it, in the kept log, with the number of
-- events that day. The sight is the last one for the snapshots up to hidden_on, the day of the next one: so a distinct
-- count is a plain sum.
{{ config(materialized='grown') }}

{%- set is_grown = grows() %}
{%- set things = {'item': 'item_id', 'category': 'category_id', 'brand': 'brand'} %}
{%- set changed_things %}
{%- for thing, column in things.items() %}
select user_id, '{{ thing }}' as thing, {{ column }} as thing_id
from {{ changed_rows('int_events__imputed') if is_grown else ref('int_events__imputed') }}
where {{ column }} is not null
{{- ' union ' if not loop.last }}
{%- endfor %}
{%- endset %}

{%- if is_grown %}
{{ replaces(
    '(user_id, thing, thing_id) in (select (user_id, thing, thing_id) from (' ~ changed_things ~ '))'
) }}
{%- endif %}
with events as (
    select * from {{ ref('int_events__imputed') }}
    where is_kept
),

{% if is_grown -%}
changed as (
    {{ changed_things }}
),

{% endif -%}
{% for thing, column in things.items() -%}
{{ thing }}_days as (
    select
        events.user_id,
        '{{ thing }}' as thing,
        events.{{ column }} as thing_id,
        count(*) as event_count,
        events.occurred_at::date as occurred_on
    from events
    {%- if is_grown %}
    semi join changed
        on events.user_id = changed.user_id and changed.thing = '{{ thing }}' and events.{{ column }} = changed.thing_id
    {%- endif %}
    where events.{{ column }} is not null
    group by events.user_id, events.{{ column }}, events.occurred_at::date
),

{% endfor -%}
days as (
    {%- for thing in things %}
    select * from {{ thing }}_days
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

sights as (
    select
        user_id,
        thing,
        thing_id,
        event_count,
        occurred_on,
        coalesce(
            lead(occurred_on) over (partition by user_id, thing, thing_id order by occurred_on), {{ end_of_time() }}
        ) as hidden_on
    from days
)

select * from sights
