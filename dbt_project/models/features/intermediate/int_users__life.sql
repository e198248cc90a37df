-- One row a user and snapshot: whether the user came back, in which stage of life the user is, and quintiles.
{%- set bounded = ['tenure_days', 'recency_days', 'lateness', 'growth'] %}
with {{ settled_snapshots(by_bucket=false) }},

unsettled_events as (
    {{ events_of_unsettled(by_bucket=false) }}
),

activity as (
    select * from {{ ref('int_users__activity') }} as activity
    where {{ due('activity') }}
),

stages as (
    select * from {{ ref('lifecycle_stages') }}
),

-- The first two active days: of the kept log for all settled snapshots, else of what the snapshot saw.
kept_days as (
    select
        user_id,
        min(occurred_on) as first_on,
        min(occurred_on) filter (where gap_days is not null) as second_on
    from {{ ref('int_users__gaps') }}
    group by user_id
),

seen_days as (
    select
        user_id,
        as_of,
        min(occurred_on, 2)[1] as first_on,
        min(occurred_on, 2)[2] as second_on
    from (
        select distinct
            user_id,
            as_of,
            occurred_at::date as occurred_on
        from unsettled_events
    ) as active_days
    group by user_id, as_of
),

returns as (
    select
        snapshots.user_id,
        case when snapshots.is_settled then kept_days.first_on else seen_days.first_on end as first_on,
        case when snapshots.is_settled then kept_days.second_on else seen_days.second_on end as second_on,
        snapshots.as_of
    from snapshots
    left join kept_days
        on snapshots.user_id = kept_days.user_id
    left join seen_days
        on snapshots.user_id = seen_days.user_id and snapshots.as_of = seen_days.as_of
),

-- A day that has not ended by as_of tells nothing yet.
retained as (
    select
        user_id,
        {%- for days in [1, 7, 30] %}
        case
            when first_on + {{ days + 1 }} <= as_of then coalesce(second_on <= first_on + {{ days }}, false)
        end as is_retained_{{ days }}d,
        {%- endfor %}
        as_of
    from returns
),

-- lateness: days since the last event over the mean days between active days. growth: active days of the last 30 days
-- over those of 30 of the 60 days before, which count as one at least.
paced as (
    select
        user_id,
        tenure_days,
        recency_days,
        recency_days
        / nullif((tenure_days - recency_days) / nullif(active_day_count_lifetime - 1, 0), 0) as lateness,
        active_day_count_30d / (greatest(active_day_count_90d - active_day_count_30d, 2) / 2.0) as growth,
        as_of
    from activity
),

staged as (
    select
        paced.user_id,
        arg_min(stages.stage, stages.place) as lifecycle_stage,
        paced.as_of
    from paced
    inner join stages
        on
        {%- for measure in bounded %}
            {{- ' and' if not loop.first }}
            (stages.{{ measure }}_from is null or paced.{{ measure }} >= stages.{{ measure }}_from)
            and (stages.{{ measure }}_below is null or paced.{{ measure }} < stages.{{ measure }}_below)
        {%- endfor %}
    group by paced.user_id, paced.as_of
),

-- Among the buyers of the same snapshot. The fifths that lie strictly below decide, so that equals share a quintile.
ranked as (
    select
        user_id,
        rank() over (partition by as_of order by purchase_recency_days desc) - 1 as recency_below,
        rank() over (partition by as_of order by purchase_count_lifetime) - 1 as frequency_below,
        rank() over (partition by as_of order by purchase_value_lifetime) - 1 as money_below,
        count(*) over (partition by as_of) as buyer_count,
        as_of
    from activity
    where purchase_count_lifetime > 0
),

measured as (
    select
        retained.user_id,
        staged.lifecycle_stage,
        {%- for measure in ['recency', 'frequency', 'money'] %}
        (5 * ranked.{{ measure }}_below // ranked.buyer_count + 1)::integer as {{ measure }}_quintile,
        {%- endfor %}
        {%- for days in [1, 7, 30] %}
        retained.is_retained_{{ days }}d,
        {%- endfor %}
        retained.as_of
    from retained
    left join staged
        on retained.user_id = staged.user_id and retained.as_of = staged.as_of
    left join ranked
        on retained.user_id = ranked.user_id and retained.as_of = ranked.as_of
)

select * from measured
