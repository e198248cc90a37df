-- One row an item: the newest snapshot of features__item, laid out for looking up one item at a time.
{{ config(materialized='online', entity='item_id') }}

{{ newest_snapshot(ref('features__item')) }}
