-- One row a user and snapshot: days between active days, and between days of purchase.
-- Gaps are measured among the days known at the snapshot, so that a day that arrives late leaves older snapshots alone.
with snapshots as (
    select * from {{ ref('int_users__snapshots') }}
),

daily as (
    select * from {{ ref('int_users__daily') }}
),

active_days as (
    select
        snapshots.user_id,
        snapshots.as_of,
        daily.occurred_on,
        sum(daily.purchase_count) > 0 as has_purchase
    from snapshots
    inner join daily
        on
            snapshots.user_id = daily.user_id
            and {{ known_before('daily', 'snapshots') }}
            and daily.occurred_on >= {{ window_start(windows() | max) }}
    group by snapshots.user_id, snapshots.as_of, daily.occurred_on
),

gaps as (
    select
        *,
        occurred_on - lag(occurred_on) over (partition by user_id, as_of order by occurred_on) as gap_days,
        case
            when has_purchase
                then occurred_on - lag(occurred_on) over (
                    partition by user_id, as_of, has_purchase
                    order by occurred_on
                )
        end as purchase_gap_days
    from active_days
),

measured as (
    select
        gaps.user_id,
        {%- for days in windows() if days > 1 %}
        {%- set window = 'filter (where gaps.occurred_on >= ' ~ window_start(days, 'gaps') ~ ')' %}
        avg(gaps.gap_days) {{ window }} as interval_mean_days_{{ days }}d,
        {{ stddev_of_integers('gaps.gap_days', window) }} as interval_stddev_days_{{ days }}d,
        max(gaps.gap_days) {{ window }} as interval_max_days_{{ days }}d,
        {%- endfor %}
        avg(gaps.purchase_gap_days) as purchase_interval_mean_days_90d,
        gaps.as_of
    from gaps
    group by gaps.user_id, gaps.as_of
)

select * from measured
