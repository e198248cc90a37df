-- One row an item and snapshot: counts, sums and recency, from the daily tiles known by then.
{{ activity_of_things('items', 'item_id') }}
