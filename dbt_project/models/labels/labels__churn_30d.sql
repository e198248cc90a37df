-- Did the user do nothing at all in the 30 days from as_of on? NULL where that is not yet known.
{{ config(enabled=(30 in setting('horizons')), lookahead_days=30) }}

{{ event_within('churned_30d', 30, negate=true) }}
