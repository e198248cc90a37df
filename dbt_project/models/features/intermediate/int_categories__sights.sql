-- One row a category, thing (user, buyer, item, brand) and time in which a day is the last one known on which they met.
{{ config(materialized='grown') }}

{{ sights_of_things('category_id', {
    'user': ['user_id', none],
    'buyer': ['user_id', 'purchase'],
    'item': ['item_id', none],
    'brand': ['brand', none],
}) }}
