-- Every raw review, typed, with the reason why it cannot be used, if there is one. Nothing is dropped here.
{{ config(
    materialized='grown', identity='all',
    log=['row_id', 'user_id', 'item_id', 'created_at::date as effective_on', 'created_at::date as occurred_on']
) }}

{%- set columns = contract_columns('reviews') + review_extras() %}
{%- set tolerance = "interval '" ~ setting('future_tolerance_hours') ~ " hours'" %}
{%- set latest_run = "timestamp '" ~ setting('run_at') ~ "' + " ~ tolerance %}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}
with mapped as (
    {{ mapped_table('reviews', extra=review_extras()) }}
),

-- The text of the whole row, unknown columns too, tells rows apart whatever order they come in.
hashed as (
    select
        *,
        md5(mapped::varchar) as row_hash
    from mapped
),

typed as (
    select
        md5(hashed.row_hash || '-' || row_number() over (partition by hashed.row_hash))::uuid as row_id,
        {%- for column in columns %}
        hashed.{{ column }} as raw_{{ column }},
        {%- endfor %}
        {{ text_of('hashed.review_id') }} as review_id,
        {{ text_of('hashed.user_id') }} as user_id,
        {{ text_of('hashed.item_id') }} as item_id,
        {{ text_of('hashed.body') }} as body,
        {{ finite_of('hashed.rating') }} as rating,
        {{ instant_of('hashed.created_at') }} as created_at,
        {{ instant_of('hashed.updated_at') }} as updated_at,
        {{ instant_of('hashed.loaded_at') }} as loaded_at
    from hashed
),

judged as (
    select
        * exclude (
            {%- for column in columns %}
            raw_{{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        ),
        case
            when {{ text_of('raw_rejection_reason') }} is not null then {{ text_of('raw_rejection_reason') }}
            when user_id is null then 'missing_user_id'
            {%- for column in ['rating', 'created_at'] %}
            when {{ text_of('raw_' ~ column) }} is null then 'missing_{{ column }}'
            {%- endfor %}
            {%- for column in ['rating', 'created_at', 'updated_at', 'loaded_at'] %}
            when {{ column }} is null and {{ text_of('raw_' ~ column) }} is not null then 'malformed_{{ column }}'
            {%- endfor %}
            when not rating between 0 and {{ setting('max_rating') }} then 'impossible_rating'
            when loaded_at > {{ latest_run }} then 'loaded_in_future'
            when updated_at > {{ latest_run }} then 'updated_in_future'
            when created_at > coalesce(
                loaded_at + {{ tolerance }}, {{ latest_run }}
            ) then 'created_in_future'
        end as rejection_reason,
        case
            when rejection_reason is not null
                then coalesce(
                    raw_raw_text::varchar,
                    to_json(
                        {
                            {%- for column in contract_columns('reviews') + ['updated_at', 'loaded_at'] %}
                            '{{ column }}': raw_{{ column }}{{ ',' if not loop.last }}
                            {%- endfor %}
                        }
                    )::varchar
                )
        end as raw_text
    from typed
)

select * from judged
