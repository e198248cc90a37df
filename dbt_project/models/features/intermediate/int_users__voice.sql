-- One row a user and snapshot: the user's reviews known by then, how good their ratings and how kind their texts are.
-- Ratings and sentiments are added up as decimals: a sum of doubles would change with the order of the rows.
with snapshots as (
    select
        snapshots.user_id,
        snapshots.as_of
    from {{ ref('int_users__snapshots') }} as snapshots
    where {{ due('snapshots') }} and {{ in_bucket('snapshots.user_id') }}
),

reviews as (
    select * from {{ ref('int_reviews__known') }}
    where {{ in_bucket('user_id') }}
),

tiles as (
    select
        user_id,
        count(*) as review_count,
        sum(rating::decimal(18, 4))::decimal(18, 4) as rating,
        sum((rating >= {{ setting('good_rating') }})::utinyint) as good_review_count,
        sum((rating <= {{ setting('bad_rating') }})::utinyint) as bad_review_count,
        count(sentiment) as text_count,
        coalesce(sum(sentiment::decimal(18, 4)), 0)::decimal(18, 4) as sentiment,
        created_at::date as occurred_on,
        known_on,
        hidden_on,
        max(created_at) as last_created_at
    from reviews
    group by user_id, created_at::date, known_on, hidden_on
),

{{ windowed('snapshots', 'tiles', ['user_id'], sums={
    'review_count': 'integer',
    'rating': 'double',
    'good_review_count': 'integer',
    'bad_review_count': 'integer',
    'text_count': 'integer',
    'sentiment': 'double',
}, last=['last_created_at'], windows=voice_windows()) }},

measured as (
    select
        user_id,
        {%- for days in voice_windows() + ['lifetime'] %}
        {%- set window = days if days == 'lifetime' else days ~ 'd' %}
        review_count_{{ window }},
        rating_{{ window }} / nullif(review_count_{{ window }}, 0) as rating_mean_{{ window }},
        good_review_count_{{ window }} / nullif(review_count_{{ window }}, 0)::double as good_review_share_{{ window }},
        bad_review_count_{{ window }} / nullif(review_count_{{ window }}, 0)::double as bad_review_share_{{ window }},
        sentiment_{{ window }} / nullif(text_count_{{ window }}, 0) as review_sentiment_mean_{{ window }},
        {%- endfor %}
        date_diff('second', last_created_at_lifetime, as_of) / 86400.0 as review_recency_days,
        as_of
    from windowed
)

select * from measured
