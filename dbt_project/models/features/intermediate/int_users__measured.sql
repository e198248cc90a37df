-- One row a user and snapshot: every feature before imputation.
with snapshots as (
    select * from {{ ref('int_users__snapshots') }} as snapshots
    where {{ due('snapshots') }}
),

activity as (
    select * from {{ ref('int_users__activity') }} as activity
    where {{ due('activity') }}
),

variety as (
    select * from {{ ref('int_users__variety') }} as variety
    where {{ due('variety') }}
),

sessions as (
    select * from {{ ref('int_users__sessions') }} as sessions
    where {{ due('sessions') }}
),

intervals as (
    select * from {{ ref('int_users__intervals') }} as intervals
    where {{ due('intervals') }}
),

users as (
    select * from {{ ref('stg_users') }}
),

attributed as (
    select
        snapshots.*,
        users.gender,
        users.region,
        users.occupation,
        users.income_band,
        year(snapshots.as_of) - users.birth_year as age_years,
        date_diff('second', users.registered_at, snapshots.as_of) / 86400.0 as registered_days
    from snapshots
    asof left join users
        on snapshots.user_id = users.user_id and snapshots.as_of > users.valid_from
),

joined as (
    select
        attributed.user_id,
        attributed.gender,
        attributed.region,
        attributed.occupation,
        attributed.income_band,
        activity.* exclude (user_id, as_of),
        variety.* exclude (user_id, as_of),
        sessions.* exclude (user_id, as_of),
        intervals.* exclude (user_id, as_of),
        {%- for days in windows() if days > 1 %}
        activity.purchase_count_{{ days }}d
        / nullif(activity.view_count_{{ days }}d, 0)::double as view_to_purchase_rate_{{ days }}d,
        activity.cart_count_{{ days }}d
        / nullif(activity.view_count_{{ days }}d, 0)::double as view_to_cart_rate_{{ days }}d,
        sessions.purchase_session_count_{{ days }}d
        / nullif(sessions.session_count_{{ days }}d, 0)::double as session_conversion_rate_{{ days }}d,
        {%- endfor %}
        {%- for days in [30, 90] %}
        activity.duration_seconds_{{ days }}d
        / nullif(activity.view_count_{{ days }}d, 0) as view_seconds_mean_{{ days }}d,
        activity.view_count_{{ days }}d
        / nullif(sessions.session_count_{{ days }}d, 0)::double as session_view_count_mean_{{ days }}d,
        {%- endfor %}
        {%- for days in [7, 30] %}
        greatest(
            activity.cart_count_{{ days }}d - activity.remove_count_{{ days }}d - activity.purchase_count_{{ days }}d, 0
        ) as open_cart_count_{{ days }}d,
        {%- endfor %}
        {%- for counted in ['event', 'active_day', 'purchase'] %}
        activity.{{ counted }}_count_lifetime / nullif(activity.tenure_days, 0) as {{ counted }}_rate_lifetime,
        {%- endfor %}
        activity.recency_days
        / nullif(activity.tenure_days / activity.active_day_count_lifetime, 0) as overdue_ratio_lifetime,
        activity.purchase_recency_days
        / nullif(activity.tenure_days / activity.purchase_count_lifetime, 0) as purchase_overdue_ratio_lifetime,
        activity.recency_days / nullif(intervals.interval_mean_days_90d, 0) as overdue_ratio_90d,
        activity.purchase_recency_days
        / nullif(intervals.purchase_interval_mean_days_90d, 0) as purchase_overdue_ratio_90d,
        activity.event_count_7d / nullif(activity.event_count_30d, 0)::double as event_trend_7d_30d,
        activity.event_count_30d / nullif(activity.event_count_90d, 0)::double as event_trend_30d_90d,
        activity.purchase_value_lifetime
        / nullif(activity.purchase_count_lifetime, 0) as purchase_value_mean_lifetime,
        attributed.age_years,
        attributed.registered_days,
        attributed.as_of
    from attributed
    inner join activity
        on attributed.user_id = activity.user_id and attributed.as_of = activity.as_of
    left join variety
        on attributed.user_id = variety.user_id and attributed.as_of = variety.as_of
    left join sessions
        on attributed.user_id = sessions.user_id and attributed.as_of = sessions.as_of
    left join intervals
        on attributed.user_id = intervals.user_id and attributed.as_of = intervals.as_of
)

select * from joined
