-- One row an item and snapshot: what was known of the item at that instant.
{{ config(materialized='snapshots', contract=contract_of_defaults(['windows'])) }}

with snapshots as (
    select snapshots.* from {{ ref('int_items__snapshots') }} as snapshots
    where {{ due('snapshots') }}
),

activity as (
    select activity.* from {{ ref('int_items__activity') }} as activity
    where {{ due('activity') }}
),

audience as (
    select audience.* from {{ ref('int_items__audience') }} as audience
    where {{ due('audience') }}
),

ratings as (
    select ratings.* from {{ ref('int_items__ratings') }} as ratings
    where {{ due('ratings') }}
),

-- What the last week would have sold if as many of its views had led to a purchase as in the weeks before.
expected as (
    select
        item_id,
        view_count_7d * (purchase_count_90d - purchase_count_7d)
        / nullif(view_count_90d - view_count_7d, 0) as expected_purchase_count_7d,
        as_of
    from activity
),

-- Ranked apart from the rest: windows carry all columns of their rows along.
popularity as (
    select
        snapshots.item_id,
        {%- for days in [30, 90] %}
        case
            when snapshots.category_id is not null
                then
                    activity.event_count_{{ days }}d
                    / nullif(
                        sum(activity.event_count_{{ days }}d) over (
                            partition by snapshots.as_of, snapshots.category_id
                        ), 0
                    )::double
        end as category_event_share_{{ days }}d,
        percent_rank() over (
            partition by snapshots.as_of
            order by activity.event_count_{{ days }}d
        ) as popularity_rank_{{ days }}d,
        {%- endfor %}
        snapshots.as_of
    from snapshots
    inner join activity
        on snapshots.item_id = activity.item_id and snapshots.as_of = activity.as_of
),

measured as (
    select
        snapshots.item_id,
        snapshots.category_id,
        snapshots.brand,
        snapshots.* exclude (item_id, category_id, brand, as_of),
        activity.* exclude (item_id, as_of),
        audience.* exclude (item_id, as_of),
        ratings.* exclude (item_id, as_of),
        {{ rates_of_things('activity') }}
        popularity.* exclude (item_id, as_of),
        expected.expected_purchase_count_7d,
        activity.purchase_recency_days
        * activity.purchase_count_90d / nullif(least(activity.seen_days, 90), 0) as purchase_overdue_ratio_90d,
        coalesce(
            activity.purchase_count_7d = 0 and expected.expected_purchase_count_7d >= 3, false
        ) as is_stock_out_likely,
        snapshots.as_of
    from snapshots
    inner join activity
        on snapshots.item_id = activity.item_id and snapshots.as_of = activity.as_of
    inner join audience
        on snapshots.item_id = audience.item_id and snapshots.as_of = audience.as_of
    inner join ratings
        on snapshots.item_id = ratings.item_id and snapshots.as_of = ratings.as_of
    inner join popularity
        on snapshots.item_id = popularity.item_id and snapshots.as_of = popularity.as_of
    inner join expected
        on snapshots.item_id = expected.item_id and snapshots.as_of = expected.as_of
)

select * from measured
