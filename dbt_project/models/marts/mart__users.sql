-- One row a user of the newest snapshot, for a BI tool: every score with what is known of the user.
{{ config(enabled=(30 in setting('horizons'))) }}

with features as (
    select * from {{ ref('features__user') }}
),

purchase_30d as (
    select * from {{ ref('pred__purchase_30d') }}
),

{% for prediction in ['churn_30d', 'purchase_30d_lstm', 'spend_30d', 'next_purchase_30d'] -%}
{{ prediction }} as (
    {{ scores_if_there(ref('pred__' ~ prediction)) }}
),

{% endfor -%}
users as (
    select
        features.user_id,
        features.region,
        features.income_band,
        purchase_30d.score as purchase_score,
        purchase_30d.score_rank as purchase_rank,
        purchase_30d.score_decile as purchase_decile,
        purchase_30d_lstm.score as purchase_score_lstm,
        churn_30d.score as churn_score,
        churn_30d.score_decile as churn_decile,
        spend_30d.score as expected_spend_30d,
        spend_30d.score_decile as spend_decile,
        next_purchase_30d.score as days_to_purchase_30d,
        features.event_count_30d,
        features.session_count_30d,
        features.view_count_30d,
        features.cart_count_30d,
        features.purchase_count_30d,
        features.purchase_count_lifetime,
        features.purchase_value_30d,
        features.purchase_value_lifetime,
        features.recency_days,
        features.tenure_days,
        features.as_of
    from purchase_30d
    inner join features
        on purchase_30d.user_id = features.user_id and purchase_30d.as_of = features.as_of
    left join churn_30d
        on purchase_30d.user_id = churn_30d.user_id and purchase_30d.as_of = churn_30d.as_of
    left join purchase_30d_lstm
        on purchase_30d.user_id = purchase_30d_lstm.user_id and purchase_30d.as_of = purchase_30d_lstm.as_of
    left join spend_30d
        on purchase_30d.user_id = spend_30d.user_id and purchase_30d.as_of = spend_30d.as_of
    left join next_purchase_30d
        on purchase_30d.user_id = next_purchase_30d.user_id and purchase_30d.as_of = next_purchase_30d.as_of
)

select * from users
