-- Every raw row of campaigns, typed, with the reason why it cannot be used, if there is one. Nothing is dropped here.
{{ config(materialized='view') }}

{{ judged_rows(
    'campaigns', texts=['kind'], numbers={'discount': none}, instants=['starts_at', 'ends_at', 'updated_at'],
    valid_from=campaign_known_from()
) }}
