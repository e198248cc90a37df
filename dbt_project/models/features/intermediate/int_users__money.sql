-- One row a user and snapshot: what the user pays, gets off the list price, pays beside the category's usual price, and
-- sends back.
with snapshots as (
    select
        snapshots.user_id,
        snapshots.as_of
    from {{ ref('int_users__snapshots') }} as snapshots
    where {{ due('snapshots') }} and {{ in_bucket('snapshots.user_id') }}
),

days as (
    select * from {{ ref('int_users__purchase_days') }}
    where {{ in_bucket('user_id') }}
),

{{ windowed('snapshots', 'days', ['user_id'], sums={
    'purchase_count': 'integer',
    'return_count': 'integer',
    'priced_count': 'integer',
    'listed_count': 'integer',
    'discounted_count': 'integer',
    'purchase_value': 'double',
    'list_value': 'double',
    'discount_value': 'double',
    'category_value': 'double',
    'compared_value': 'double',
}, largest=['purchase_value_max']) }},

measured as (
    select
        user_id,
        {%- for window in window_suffixes() %}
        purchase_value_{{ window }} / nullif(priced_count_{{ window }}, 0) as purchase_value_mean_{{ window }},
        purchase_value_max_{{ window }}::double as purchase_value_max_{{ window }},
        {%- endfor %}
        {%- for window in profile_suffixes() %}
        discount_value_{{ window }} / nullif(list_value_{{ window }}, 0) as discount_share_{{ window }},
        discounted_count_{{ window }} / nullif(listed_count_{{ window }}, 0) as discounted_purchase_share_{{ window }},
        compared_value_{{ window }} / nullif(category_value_{{ window }}, 0) as price_level_{{ window }},
        return_count_{{ window }} / nullif(purchase_count_{{ window }}, 0) as return_rate_{{ window }},
        {%- endfor %}
        as_of
    from windowed
)

select * from measured
