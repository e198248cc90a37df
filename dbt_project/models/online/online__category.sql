-- One row a category: the newest snapshot of features__category, laid out for looking up one category at a time.
{{ config(materialized='online', entity='category_id') }}

{{ newest_snapshot(ref('features__category')) }}
