-- One row a category and snapshot: distinct users, buyers, items and brands. Each counts in a window that holds the
-- last known meeting.
{{ audience_of_things('categories', 'category_id', ['user', 'buyer', 'item', 'brand']) }}
