-- Every raw row of items, typed, with the reason why it cannot be used, if there is one. Nothing is dropped here.
{{ config(materialized='view') }}

{{ judged_rows(
    'items', texts=['title', 'description', 'category_id', 'brand', 'image'], numbers={'price': setting('max_price')},
    instants=['listed_at', 'updated_at'], valid_from="coalesce(updated_at, listed_at, timestamp '0001-01-01')"
) }}
