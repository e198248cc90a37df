{{ config(
    enabled=(30 in setting('horizons')), materialized='prediction', entity='user_id',
    label='churned_30d', horizon_days=30, kind='binary', model='mlp',
    truth='truth__user', reasons=3
) }}

-- depends_on: {{ ref('truth__user') }}
with features as (
    select * from {{ ref('features__user') }}
),

labels as (
    select * from {{ ref('labels__churn_30d') }}
),

examples as (
    select
        features.user_id,
        labels.churned_30d,
        features.* exclude (user_id, as_of),
        features.as_of
    from features
    left join labels
        on features.user_id = labels.user_id and features.as_of = labels.as_of
)

select * from examples
