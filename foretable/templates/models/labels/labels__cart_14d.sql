-- One row a user and as_of: does the user put something into the cart in the 14 days from as_of?
{{ foretable.event_within('added_to_cart_14d', days=14, event_type='cart') }}
