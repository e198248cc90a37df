{# The lists that tell of an entity's events. #}
{% macro list_columns() %}
    {{- return({
        'event_types': 'event_type', 'item_ids': 'item_id', 'category_ids': 'category_id', 'prices': 'price',
        'occurred_us': 'microseconds',
    }) -}}
{% endmacro %}


{# Events as parallel lists, oldest first, one row a group of keys, as a query. events: CTE. #}
{% macro event_lists(events, keys) -%}
    select
        {{ keys | join(', ') }}
        {%- for column, field in foretable.list_columns().items() %},
        list_transform(history, lambda event: event.{{ field }}) as {{ column }}
        {%- endfor %}
    from (
        select
            {{ keys | join(', ') }},
            list_sort(list({
                'microseconds': epoch_us(occurred_at), 'row_id': row_id, 'event_type': event_type, 'item_id': item_id,
                'category_id': category_id, 'price': price
            })) as history
        from {{ events }}
        group by {{ keys | join(', ') }}
    )
{%- endmacro %}


{# The columns of a sequence table from lists that end before as_of, for a select list. #}
{% macro sequence_columns() -%}
    event_types,
    item_ids,
    category_ids,
    prices,
    list_transform(
        range(1, len(occurred_us) + 1),
        lambda position: case
            when position = 1 then 0
            else (occurred_us[position] - occurred_us[position - 1]) / 1000000.0
        end
    ) as gaps_seconds,
    list_transform(occurred_us, lambda instant: ((instant // 3600000000) % 24)::integer) as hours,
    (epoch_us(as_of) - occurred_us[-1]) / 1000000.0 as seconds_since_last_event
{%- endmacro %}
