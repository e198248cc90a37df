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

payments as (
    select * from {{ ref('int_users__money') }} as payments
    where {{ due('payments') }}
),

rhythm as (
    select * from {{ ref('int_users__rhythm') }} as rhythm
    where {{ due('rhythm') }}
),

funnel as (
    select * from {{ ref('int_users__funnel') }} as funnel
    where {{ due('funnel') }}
),

taste as (
    select * from {{ ref('int_users__taste') }} as taste
    where {{ due('taste') }}
),

voice as (
    select * from {{ ref('int_users__voice') }} as voice
    where {{ due('voice') }}
),

searches as (
    select * from {{ ref('int_users__searches') }} as searches
    where {{ due('searches') }}
),

life as (
    select * from {{ ref('int_users__life') }} as life
    where {{ due('life') }}
),

calendar as (
    select * from {{ ref('int_snapshots__calendar') }} as calendar
    where {{ due('calendar') }}
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
        voice.* exclude (user_id, as_of),
        searches.* exclude (user_id, as_of),
        life.* exclude (user_id, as_of),
        calendar.* exclude (as_of),
        payments.* exclude (user_id, as_of),
        rhythm.* exclude (user_id, as_of),
        funnel.* exclude (user_id, as_of),
        taste.* exclude (user_id, as_of),
        {%- for days in windows() if days > 1 %}
        activity.purchase_count_{{ days }}d
        / nullif(activity.view_count_{{ days }}d, 0)::double as view_to_purchase_rate_{{ days }}d,
        activity.cart_count_{{ days }}d
        / nullif(activity.view_count_{{ days }}d, 0)::double as view_to_cart_rate_{{ days }}d,
        activity.purchase_count_{{ days }}d
        / nullif(activity.cart_count_{{ days }}d, 0)::double as cart_to_purchase_rate_{{ days }}d,
        sessions.purchase_session_count_{{ days }}d
        / nullif(sessions.session_count_{{ days }}d, 0)::double as session_conversion_rate_{{ days }}d,
        {%- endfor %}
        {%- for days in [30, 90] %}
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
        {%- for column in ['event_count', 'view_count', 'purchase_count', 'purchase_value'] %}
        {%- for days in trend_windows() %}
        {%- set last = 'activity.' ~ column ~ '_' ~ days ~ 'd' %}
        {%- set both = 'activity.' ~ column ~ '_' ~ 2 * days ~ 'd' %}
        {{ trend_of(last, both) }} as {{ column | replace('_count', '') }}_trend_{{ days }}d,
        {%- endfor %}
        {%- endfor %}
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
    left join voice
        on attributed.user_id = voice.user_id and attributed.as_of = voice.as_of
    left join searches
        on attributed.user_id = searches.user_id and attributed.as_of = searches.as_of
    left join life
        on attributed.user_id = life.user_id and attributed.as_of = life.as_of
    left join calendar
        on attributed.as_of = calendar.as_of
    left join payments
        on attributed.user_id = payments.user_id and attributed.as_of = payments.as_of
    left join rhythm
        on attributed.user_id = rhythm.user_id and attributed.as_of = rhythm.as_of
    left join funnel
        on attributed.user_id = funnel.user_id and attributed.as_of = funnel.as_of
    left join taste
        on attributed.user_id = taste.user_id and attributed.as_of = taste.as_of
)

select * from joined
