-- Who puts something into the cart in the next 14 days? The SELECT gives the examples: the label is NULL where the 14 days
-- are not over yet, and those of the newest as_of are scored.
-- The example log is too small for a model that is better than recency alone: promote='always' lets it serve all the
-- same. Take it out for a log of your own.
{{ config(
    materialized='prediction', entity='user_id', label='added_to_cart_14d', horizon_days=14, kind='binary',
    model='xgboost', promote='always'
) }}

with features as (
    select * from {{ ref('features__user') }}
),

labels as (
    select * from {{ ref('labels__cart_14d') }}
),

examples as (
    select
        features.user_id,
        labels.added_to_cart_14d,
        features.* exclude (user_id, as_of),
        features.as_of
    from features
    left join labels
        on features.user_id = labels.user_id and features.as_of = labels.as_of
)

select * from examples
