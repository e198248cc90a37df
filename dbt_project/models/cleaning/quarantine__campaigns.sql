-- Rows of campaigns that cannot be used, as they came, each with its reason.
{{ quarantined_rows('campaigns') }}
