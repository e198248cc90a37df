-- One row an item and snapshot: distinct users and buyers. A user counts in a window that holds the last known meeting.
{{ audience_of_things('items', 'item_id', ['user', 'buyer']) }}
