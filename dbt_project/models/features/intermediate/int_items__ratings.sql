-- One row an item and snapshot: count and mean of the ratings written before it.
{{ ratings_of_things('items', 'item_id') }}
