-- One row an item, day, and time in which the events may be seen: the tiles that counts and sums are made of.
{{ config(materialized='grown') }}

{{ daily_of_things('item_id') }}
