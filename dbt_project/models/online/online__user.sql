-- One row a user: the newest snapshot of features__user, laid out for looking up one user at a time.
{{ config(materialized='online', entity='user_id') }}

with features as (
    select * from {{ ref('features__user') }}
),

newest as (
    select max(features.as_of) as as_of
    from features
),

selected as (
    select features.*
    from features
    inner join newest
        on features.as_of = newest.as_of
)

select * from selected
