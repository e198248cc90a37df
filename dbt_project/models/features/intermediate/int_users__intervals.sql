-- One row a user and snapshot: days between active days, and between days of purchase. A gap lies in a window if the
-- day that ends it does. Regularity is the mean over mean plus deviation: 1 where all gaps are alike.
with {{ settled_snapshots() }},

unsettled_events as (
    {{ events_of_unsettled() }}
),

unsettled_days as (
    select
        user_id,
        as_of,
        occurred_at::date as occurred_on,
        bool_or(event_type = 'purchase') as has_purchase
    from unsettled_events
    group by user_id, as_of, occurred_at::date
),

unsettled_gaps as (
    {{ gaps_between_days('unsettled_days', ['user_id', 'as_of']) }}
),

gaps as (
    select
        *,
        true as is_settled,
        occurred_on as known_on,
        {{ end_of_time() }} as hidden_on
    from {{ ref('int_users__gaps') }}
    where {{ in_bucket('user_id') }}
    union all by name
    select
        * exclude (as_of),
        false as is_settled,
        {{ only_at('as_of') }}
    from unsettled_gaps
),

tiles as (
    select
        user_id,
        is_settled,
        count(gap_days) as gap_count,
        sum(gap_days) as gap_days,
        sum(gap_days * gap_days) as squared_gap_days,
        count(purchase_gap_days) as purchase_gap_count,
        sum(purchase_gap_days) as purchase_gap_days,
        max(gap_days) as interval_max_days,
        occurred_on,
        known_on,
        hidden_on
    from gaps
    group by user_id, is_settled, occurred_on, known_on, hidden_on
),

{{ windowed('snapshots', 'tiles', ['user_id', 'is_settled'], sums={
    'gap_count': 'integer',
    'gap_days': 'bigint',
    'squared_gap_days': 'bigint',
    'purchase_gap_count': 'integer',
    'purchase_gap_days': 'bigint',
}, largest=['interval_max_days']) }},

measured as (
    select
        user_id,
        {%- for days in windows() if days > 1 %}
        gap_days_{{ days }}d / nullif(gap_count_{{ days }}d, 0) as interval_mean_days_{{ days }}d,
        {{ stddev_of_sums(
            'gap_count_' ~ days ~ 'd', 'gap_days_' ~ days ~ 'd', 'squared_gap_days_' ~ days ~ 'd'
        ) }} as interval_stddev_days_{{ days }}d,
        interval_max_days_{{ days }}d,
        purchase_gap_days_{{ days }}d
        / nullif(purchase_gap_count_{{ days }}d, 0) as purchase_interval_mean_days_{{ days }}d,
        {%- endfor %}
        as_of
    from windowed
),

regular as (
    select
        * exclude (as_of),
        {%- for days in profile_windows() %}
        interval_mean_days_{{ days }}d
        / (interval_mean_days_{{ days }}d + interval_stddev_days_{{ days }}d) as interval_regularity_{{ days }}d,
        {%- endfor %}
        as_of
    from measured
)

select * from regular
