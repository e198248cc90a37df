-- Rows of users that cannot be used, as they came, each with its reason.
{{ quarantined_rows('users') }}
