-- Every raw row of users, typed, with the reason why it cannot be used, if there is one. Nothing is dropped here.
{{ config(materialized='view') }}

{{ judged_rows(
    'users', texts=['gender', 'city', 'region', 'occupation', 'income_band'], whole_numbers=['birth_year'],
    instants=['registered_at', 'updated_at'], valid_from="coalesce(updated_at, registered_at, timestamp '0001-01-01')"
) }}
