{{ config(
    enabled=(30 in setting('horizons')), materialized='prediction', entity='user_id',
    label='purchased_30d', horizon_days=30, kind='binary', model='lstm',
    truth='truth__user'
) }}

-- depends_on: {{ ref('truth__user') }}
with features as (
    select * from {{ ref('features__user') }}
),

sequences as (
    select * from {{ ref('sequences__user') }}
),

labels as (
    select * from {{ ref('labels__purchase_30d') }}
),

examples as (
    select
        features.user_id,
        labels.purchased_30d,
        features.* exclude (user_id, as_of),
        sequences.* exclude (user_id, item_ids, as_of),
        features.as_of
    from features
    inner join sequences
        on features.user_id = sequences.user_id and features.as_of = sequences.as_of
    left join labels
        on features.user_id = labels.user_id and features.as_of = labels.as_of
)

select * from examples
