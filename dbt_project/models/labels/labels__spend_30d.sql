-- What does the user spend in the 30 days from as_of on? 0 where nothing, NULL where that is not yet known.
{{ config(enabled=(30 in setting('horizons')), lookahead_days=30) }}

{{ value_within('spend_30d', 30) }}
