{# The lists that tell of an entity's events, and the field of an event that each is made of. #}
{% macro list_columns() %}
    {{- return({
        'event_types': 'event_type', 'item_ids': 'item_id', 'category_ids': 'category_id', 'prices': 'price',
        'gaps_seconds': 'gap_seconds', 'hours': 'hour',
    }) -}}
{% endmacro %}


{# What the lists hold of one event, for a select list. previous_us: the instant of the event before, in microseconds. #}
{% macro listed_fields(events, previous_us) -%}
    {{ events }}.event_type,
    {{ events }}.item_id,
    {{ events }}.category_id,
    {{ events }}.price,
    coalesce((epoch_us({{ events }}.occurred_at) - {{ previous_us }}) / 1000000.0, 0) as gap_seconds,
    hour({{ events }}.occurred_at)::integer as hour,
    epoch_us({{ events }}.occurred_at) as microseconds
{%- endmacro %}


{#
    Events as parallel lists, one row a group of keys, as a query. Lists that are ordered while they are collected would
    need many times the memory and time: so structs are collected and sorted.

    events: CTE with listed_fields and `ordinal`, which orders them
#}
{% macro event_lists(events, keys) -%}
    select
        {{ keys | join(', ') }},
        {%- for column, field in foretable.list_columns().items() %}
        list_transform(history, lambda event: event.{{ field }}) as {{ column }},
        {%- endfor %}
        list_transform(history, lambda event: event.microseconds) as occurred_us
    from (
        select
            {{ keys | join(', ') }},
            list_sort(list({
                'ordinal': ordinal,
                {%- for field in foretable.list_columns().values() %}
                '{{ field }}': {{ field }},
                {%- endfor %}
                'microseconds': microseconds
            })) as history
        from {{ events }}
        group by {{ keys | join(', ') }}
    )
{%- endmacro %}


{#
    The sequences of groups of events, as two CTEs; the last is `sequences`, with the keys and the columns of a sequence
    table. Of each group only its last events are collected, so that one with a million of them needs no memory for it.

    events: CTE of events. keys: the columns that make a group; as_of is one.
#}
{% macro sequences_of(events, keys) -%}
numbered as (
    select
        {%- for key in keys %}
        events.{{ key }},
        {%- endfor %}
        {{ foretable.listed_fields('events', 'lead(epoch_us(events.occurred_at)) over newest_first') }},
        -row_number() over newest_first as ordinal
    from {{ events }} as events
    window newest_first as (
        partition by {% for key in keys %}events.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
        order by events.occurred_at desc, events.row_id desc
    )
    qualify ordinal >= -{{ foretable.setting('sequence_length') }}
),

listed as (
    {{ foretable.event_lists('numbered', keys) }}
),

sequences as (
    select
        {%- for key in keys if key != 'as_of' %}
        {{ key }},
        {%- endfor %}
        {%- for column in foretable.list_columns() if column != 'gaps_seconds' %}
        {{ column }},
        {%- endfor %}
        {{ foretable.without_first_gap('gaps_seconds') }} as gaps_seconds,
        (epoch_us(as_of) - occurred_us[-1]) / 1000000.0 as seconds_since_last_event,
        as_of
    from listed
)
{%- endmacro %}


{# The first event of a sequence has no gap before it. #}
{% macro without_first_gap(gaps) -%}
    [0::double] || list_slice({{ gaps }}, 2, -1)
{%- endmacro %}
