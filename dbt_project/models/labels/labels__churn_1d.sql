-- Did the user do nothing at all in the 1 days from as_of on? NULL where that is not yet known.
{{ config(enabled=(1 in setting('horizons')), lookahead_days=1) }}

{{ event_within('churned_1d', 1, negate=true) }}
