-- One row a category, day, and time in which the events may be seen: the tiles that counts and sums are made of.
-- An event's category is the one that its item had when it happened.
{{ config(materialized='grown') }}

{{ daily_of_things('category_id') }}
