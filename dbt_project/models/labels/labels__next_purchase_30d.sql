-- How many days pass from as_of on until the user buys? 30 where not within them, NULL where that is not yet known.
{{ config(enabled=(30 in setting('horizons')), lookahead_days=30) }}

{{ days_until('days_to_purchase_30d', 30, event_type='purchase') }}
