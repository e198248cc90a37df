-- A table macro: one row of features__user for one user, from the raw events up to this moment.
{{ config(
    materialized='live', of='features__user', key='user_id',
    read_as_built=['int_items__price_medians', 'fitted__statistics', 'fitted__neighbours', 'attributes__history'],
    without=['recency_quintile', 'frequency_quintile', 'money_quintile']
) }}

select * from {{ ref('features__user') }}
