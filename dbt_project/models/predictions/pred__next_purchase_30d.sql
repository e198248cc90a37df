{{ config(
    enabled=(30 in setting('horizons')), materialized='prediction', entity='user_id',
    label='days_to_purchase_30d', horizon_days=30, kind='time_to_event', model='xgboost', reasons=3,
    exclude=['recency_quintile', 'frequency_quintile', 'money_quintile']
) }}

-- Without what live_features does not tell, so that scores.next_purchase_30d_live scores the features of this moment.
-- depends_on: {{ ref('live_features') }}
with features as (
    select * from {{ ref('features__user') }}
),

labels as (
    select * from {{ ref('labels__next_purchase_30d') }}
),

examples as (
    select
        features.user_id,
        labels.days_to_purchase_30d,
        features.* exclude (user_id, as_of),
        features.as_of
    from features
    left join labels
        on features.user_id = labels.user_id and features.as_of = labels.as_of
)

select * from examples
