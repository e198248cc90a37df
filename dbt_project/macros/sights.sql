{#
    The last day on which an item or a category met each user, buyer, item or brand, as a model: one row a pair and time
    in which that day is the last one known. A snapshot sees one row of a pair, so that a distinct count is a plain sum.

    Of the kept events, those that came to be known after a later one tell nothing new. A row that was replaced since
    counts from known_on to hidden_on if it was the last of its pair when it became known.

    key: item_id or category_id. things: {name: [column that is counted, event type or none for all]}
#}
{% macro sights_of_things(key, things) %}
{%- set is_grown = foretable.grows() %}
{%- set pair = [key, 'thing', 'thing_id'] %}
{%- set pairs = pair | join(', ') %}
{%- set changed_pairs %}
    {%- for thing, of in things.items() %}
    select {{ key }}, '{{ thing }}' as thing, {{ of[0] }} as thing_id
    from {{ foretable.changed_rows('int_events__imputed') if is_grown else ref('int_events__imputed') }}
    where {{ key }} is not null and {{ of[0] }} is not null
    {{- ' union ' if not loop.last }}
    {%- endfor %}
{%- endset %}
{%- if is_grown %}
{{ foretable.replaces('(' ~ pairs ~ ') in (select (' ~ pairs ~ ') from (' ~ changed_pairs ~ '))') }}
{%- endif %}
with events as (
    select * from {{ ref('int_events__imputed') }}
    where {{ key }} is not null
),

{% if is_grown -%}
changed as (
    {{ changed_pairs }}
),

{% endif -%}
days as (
    {%- for thing, of in things.items() %}
    select
        events.{{ key }},
        '{{ thing }}' as thing,
        events.{{ of[0] }} as thing_id,
        events.is_kept,
        max(events.occurred_at)::date as occurred_on,
        events.known_on,
        events.hidden_on
    from events
    {%- if is_grown %}
    semi join changed
        on
            events.{{ key }} = changed.{{ key }}
            and changed.thing = '{{ thing }}'
            and events.{{ of[0] }} = changed.thing_id
    {%- endif %}
    where
        events.{{ of[0] }} is not null
        {%- if of[1] %}
        and events.event_type = '{{ of[1] }}'
        {%- endif %}
    group by events.{{ key }}, events.{{ of[0] }}, events.is_kept, events.known_on, events.hidden_on
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

kept as (
    select
        {{ pairs }},
        occurred_on,
        known_on
    from days
    where is_kept
    qualify
        coalesce(
            occurred_on > max(occurred_on) over (
                partition by {{ pairs }}
                order by known_on
                rows between unbounded preceding and 1 preceding
            ), true
        )
),

replaced as (
    select days.*
    from days
    asof left join kept
        on {{ foretable.is_same('days', 'kept', pair) }}
        and days.known_on >= kept.known_on
    where not days.is_kept and coalesce(days.occurred_on > kept.occurred_on, true)
),

turns as (
    select
        {{ pairs }},
        max(occurred_on) as occurred_on,
        known_on
    from (
        select {{ pairs }}, occurred_on, known_on from kept
        union all
        select {{ pairs }}, null as occurred_on, known_on from replaced
        union all
        select {{ pairs }}, null as occurred_on, hidden_on as known_on from replaced
    )
    group by {{ pairs }}, known_on
),

spans as (
    select
        {{ pairs }},
        max(occurred_on) over in_time as occurred_on,
        known_on,
        coalesce(lead(known_on) over in_time, {{ foretable.end_of_time() }}) as hidden_on
    from turns
    window in_time as (partition by {{ pairs }} order by known_on)
),

replaced_spans as (
    select
        {%- for column in pair %}
        spans.{{ column }},
        {%- endfor %}
        spans.known_on,
        max(replaced.occurred_on) as occurred_on
    from spans
    inner join replaced
        on {{ foretable.is_same('spans', 'replaced', pair) }}
        and replaced.known_on <= spans.known_on
        and spans.known_on < replaced.hidden_on
    group by {% for column in pair %}spans.{{ column }}, {% endfor %}spans.known_on
),

seen as (
    select spans.* replace (greatest(spans.occurred_on, replaced_spans.occurred_on) as occurred_on)
    from spans
    left join replaced_spans
        on {{ foretable.is_same('spans', 'replaced_spans', pair) }}
        and spans.known_on = replaced_spans.known_on
),

sights as (
    select * from seen
    where occurred_on is not null
)

select * from sights
{% endmacro %}


{#
    Distinct users, buyers and more of things in every window, from their sights, as a model.

    things, key: as in activity_of_things. counted: what the sights tell of.
#}
{% macro audience_of_things(things, key, counted) %}
{%- set sums = {} %}
{%- for thing in counted %}
{%- do sums.update({'distinct_' ~ thing ~ '_count': 'integer'}) %}
{%- endfor %}
with snapshots as (
    select
        {{ key }},
        as_of
    from {{ ref('int_' ~ things ~ '__snapshots') }} as snapshots
    where {{ foretable.due('snapshots') }}
),

sights as (
    select
        {{ key }},
        {%- for thing in counted %}
        (thing = '{{ thing }}')::utinyint as distinct_{{ thing }}_count,
        {%- endfor %}
        occurred_on,
        known_on,
        hidden_on
    from {{ ref('int_' ~ things ~ '__sights') }}
),

{{ foretable.windowed('snapshots', 'sights', [key], sums=sums) }}

select * from windowed
{% endmacro %}
