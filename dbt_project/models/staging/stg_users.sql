-- One row a version of a user's attributes, with the time from which it was valid.
{{ config(
    materialized='grown', identity='all',
    log=['user_id', 'valid_from::date as effective_on', 'valid_from::date as occurred_on']
) }}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}
with mapped as (
    {{ mapped_table('users') }}
),

typed as (
    select
        {{ text_of('mapped.user_id') }} as user_id,
        {{ text_of('mapped.gender') }} as gender,
        {{ text_of('mapped.city') }} as city,
        {{ text_of('mapped.region') }} as region,
        {{ text_of('mapped.occupation') }} as occupation,
        {{ text_of('mapped.income_band') }} as income_band,
        {{ cast_of('mapped.birth_year', 'integer') }} as birth_year,
        {{ instant_of('mapped.registered_at') }} as registered_at,
        coalesce(
            {{ instant_of('mapped.updated_at') }},
            {{ instant_of('mapped.registered_at') }},
            timestamp '0001-01-01'
        ) as valid_from
    from mapped
    where {{ text_of('mapped.user_id') }} is not null
),

-- One version an instant: of several, the one whose text sorts last.
versioned as (
    select * from typed
    qualify row_number() over (partition by user_id, valid_from order by typed::varchar desc) = 1
)

select * from versioned
