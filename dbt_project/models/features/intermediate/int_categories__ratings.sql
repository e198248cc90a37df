-- One row a category and snapshot: count and mean of the ratings written before it.
{{ ratings_of_things('categories', 'category_id') }}
