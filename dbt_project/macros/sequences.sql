{#
    The lists that tell of an entity's events, and the field of an event that each is made of. Gaps and hours are worked out
    once an event, and not once a snapshot.
#}
{% macro list_columns() %}
    {{- return({
        'event_types': 'event_type', 'item_ids': 'item_id', 'category_ids': 'category_id', 'prices': 'price',
        'gaps_seconds': 'gap_seconds', 'hours': 'hour', 'occurred_us': 'microseconds',
    }) -}}
{% endmacro %}


{# Events as parallel lists, oldest first, one row a group of keys, as a query. events: CTE. #}
{% macro event_lists(events, keys) -%}
    select
        {{ keys | join(', ') }},
        {%- for column, field in foretable.list_columns().items() if column != 'gaps_seconds' %}
        list_transform(history, lambda event: event.{{ field }}) as {{ column }},
        {%- endfor %}
        [0::double] || list_transform(
            list_zip(occurred_us[2:], occurred_us[:-2]),
            lambda pair: (pair[1] - pair[2]) / 1000000.0
        ) as gaps_seconds
    from (
        select
            {{ keys | join(', ') }},
            list_sort(list({
                'microseconds': epoch_us(occurred_at), 'row_id': row_id, 'event_type': event_type, 'item_id': item_id,
                'category_id': category_id, 'price': price, 'hour': hour(occurred_at)::integer
            })) as history
        from {{ events }}
        group by {{ keys | join(', ') }}
    )
{%- endmacro %}


{#
    The columns of a sequence table, for a select list: up to so many events that end with the one at position `last`.
    The first event of a sequence has no gap before it.
#}
{% macro sequence_ending_at(lists, last) -%}
    {%- set first = 'greatest(' ~ last ~ ' - ' ~ foretable.setting('sequence_length') ~ ', 0) + 1' -%}
    {%- for column in foretable.list_columns() if column not in ['occurred_us', 'gaps_seconds'] %}
    list_slice({{ lists }}.{{ column }}, {{ first }}, {{ last }}) as {{ column }},
    {%- endfor %}
    [0::double] || list_slice({{ lists }}.gaps_seconds, {{ first }} + 1, {{ last }}) as gaps_seconds,
    {{ lists }}.occurred_us[{{ last }}] as last_occurred_us
{%- endmacro %}


{# The columns of a sequence table from those of sequence_ending_at and as_of, for a select list. #}
{% macro sequence_of_picked() -%}
    {%- for column in foretable.list_columns() if column != 'occurred_us' %}
    {{ column }},
    {%- endfor %}
    (epoch_us(as_of) - last_occurred_us) / 1000000.0 as seconds_since_last_event
{%- endmacro %}
