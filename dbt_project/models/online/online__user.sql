-- One row a user: the newest snapshot of features__user, laid out for looking up one user at a time.
{{ config(materialized='online', entity='user_id') }}

{{ newest_snapshot(ref('features__user')) }}
