-- Did the user buy in the 1 days from as_of on? NULL where that is not yet known.
{{ config(enabled=(1 in setting('horizons')), lookahead_days=1) }}

{{ event_within('purchased_1d', 1, event_type='purchase') }}
