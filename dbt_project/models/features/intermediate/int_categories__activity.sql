-- One row a category and snapshot: counts, sums and recency, from the daily tiles known by then.
{{ activity_of_things('categories', 'category_id') }}
