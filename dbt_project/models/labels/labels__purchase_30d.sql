-- Did the user buy in the 30 days from as_of on? NULL where that is not yet known.
{{ config(enabled=(30 in setting('horizons')), lookahead_days=30) }}

{{ event_within('purchased_30d', 30, event_type='purchase') }}
