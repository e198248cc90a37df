-- One row an item, user (or buyer) and time in which a day is the last one known on which the user met (or bought) it.
{{ config(materialized='grown') }}

{{ sights_of_things('item_id', {'user': ['user_id', none], 'buyer': ['user_id', 'purchase']}) }}
