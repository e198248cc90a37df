-- Every raw row, typed, with the reason why it cannot be used, if there is one. Nothing is dropped here.
{{ config(
    materialized='grown', identity=['row_id', 'rejection_reason'],
    log=['row_id', 'event_id', 'user_id', 'item_id', 'event_type', 'occurred_at']
) }}

{%- set is_grown = grows() %}
{%- set arrived = arrivals(ref(setting('source') ~ '__events'), is_grown) %}

{{ keeps_state(arrived['state']) }}
{%- if is_grown %}
{{ replaces(arrived['predicate'] or 'true') }}
{%- endif %}
with raw as not materialized (
    {{ mapped_table('events', extra=['rejection_reason', 'raw_text']) }}
),

mapped as not materialized (
    select * from raw
    {%- if is_grown and arrived['predicate'] %}
    where {{ arrived['predicate'] }}
    {%- endif %}
),

event_type_names as (
    select
        event_type_names.name,
        event_type_names.event_type
    from {{ ref('event_type_names') }} as event_type_names
),

-- Rows that may be alike to the last letter, by a short hash: holding the rows themselves, or a text of each, would
-- need more memory than everything after it.
repeated as (
    select hash(mapped) as short_hash
    from mapped
    group by hash(mapped)
    having count(*) > 1
),

-- Rows that are alike are numbered; a window over all rows would cost much more.
numbered as not materialized (
    select
        mapped.*,
        mapped::varchar as row_text,
        1 as copy_number
    from mapped
    anti join repeated
        on hash(mapped) = repeated.short_hash
    union all
    select
        mapped.*,
        mapped::varchar as row_text,
        row_number() over (partition by mapped::varchar) as copy_number
    from mapped
    semi join repeated
        on hash(mapped) = repeated.short_hash
),

typed as (
    select
        numbered.* exclude (
            {{ contract_columns('events') | join(', ') }}, row_text, copy_number, rejection_reason, raw_text
        ),
        md5(numbered.row_text || '-' || numbered.copy_number)::uuid as row_id,
        {%- for column in contract_columns('events') + ['rejection_reason', 'raw_text'] %}
        numbered.{{ column }} as raw_{{ column }},
        {%- endfor %}
        {{ text_of('numbered.event_id') }} as event_id,
        {{ text_of('numbered.user_id') }} as user_id,
        {{ text_of('numbered.session_id') }} as session_id,
        event_type_names.event_type,
        {{ text_of('numbered.item_id') }} as item_id,
        {{ text_of('numbered.query') }} as query,
        {{ text_of('numbered.channel') }} as channel,
        {{ text_of('numbered.device') }} as device,
        {{ text_of('numbered.campaign_id') }} as campaign_id,
        {{ text_of('numbered.order_id') }} as order_id,
        {{ cast_of('numbered.quantity', 'double') }} as quantity,
        {{ cast_of('numbered.price', 'double') }} as price,
        {{ cast_of('numbered.duration_seconds', 'double') }} as duration_seconds,
        {{ instant_of('numbered.occurred_at') }} as occurred_at,
        {{ instant_of('numbered.loaded_at') }} as loaded_at
    from numbered
    left join event_type_names
        on event_type_names.name = lower({{ text_of('numbered.event_type') }})
),

judged as (
    select
        typed.* exclude (
            {%- for column in contract_columns('events') + ['rejection_reason', 'raw_text'] %}
            raw_{{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        ),
        case
            when {{ text_of('typed.raw_rejection_reason') }} is not null
                then {{ text_of('typed.raw_rejection_reason') }}
            when typed.user_id is null then 'missing_user_id'
            when {{ text_of('typed.raw_event_type') }} is null then 'missing_event_type'
            when typed.event_type is null then 'unknown_event_type'
            when {{ text_of('typed.raw_occurred_at') }} is null then 'missing_occurred_at'
            when not coalesce(isfinite(typed.occurred_at), false) then 'malformed_occurred_at'
            {%- for column in ['loaded_at', 'price', 'quantity', 'duration_seconds'] %}
            when typed.{{ column }} is null and {{ text_of('typed.raw_' ~ column) }} is not null
                then 'malformed_{{ column }}'
            {%- endfor %}
            when not isfinite(typed.loaded_at) then 'malformed_loaded_at'
            {%- for column in ['price', 'quantity', 'duration_seconds'] %}
            when not typed.{{ column }} between 0 and {{ setting('max_' ~ column) }} then 'impossible_{{ column }}'
            {%- endfor %}
            {%- if setting('collected_from') %}
            when typed.occurred_at < timestamp '{{ setting('collected_from') }}' then 'outside_collection_period'
            {%- endif %}
            {%- if setting('collected_to') %}
            when typed.occurred_at >= timestamp '{{ setting('collected_to') }}' then 'outside_collection_period'
            {%- endif %}
            when
                typed.loaded_at
                > timestamp '{{ setting('run_at') }}' + interval '{{ setting('future_tolerance_hours') }} hours'
                then 'loaded_in_future'
            when
                typed.occurred_at
                > coalesce(typed.loaded_at, timestamp '{{ setting('run_at') }}')
                + interval '{{ setting('future_tolerance_hours') }} hours'
                then 'occurred_in_future'
        end as rejection_reason,
        case
            when rejection_reason is not null
                then coalesce(
                    typed.raw_raw_text::varchar,
                    to_json(
                        {
                            {%- for column in contract_columns('events') %}
                            '{{ column }}': typed.raw_{{ column }}{{ ',' if not loop.last }}
                            {%- endfor %}
                        }
                    )::varchar
                )
        end as raw_text
    from typed
)

select * from judged
