{{ config(
    enabled=(1 in setting('horizons')), materialized='prediction', entity='user_id',
    label='purchased_1d', horizon_days=1, kind='binary', model='xgboost'
) }}

with features as (
    select * from {{ ref('features__user') }}
),

labels as (
    select * from {{ ref('labels__purchase_1d') }}
),

examples as (
    select
        features.user_id,
        labels.purchased_1d,
        features.* exclude (user_id, as_of),
        features.as_of
    from features
    left join labels
        on features.user_id = labels.user_id and features.as_of = labels.as_of
)

select * from examples
