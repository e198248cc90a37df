-- One row a user and snapshot: counts, sums and recency, from the daily tiles known by then.
with snapshots as (
    select * from {{ ref('int_users__snapshots') }}
),

daily as (
    select * from {{ ref('int_users__daily') }}
),

measured as (
    select
        snapshots.user_id,
        {%- for days in windows() %}
        {%- set window = 'filter (where daily.occurred_on >= ' ~ window_start(days) ~ ')' %}
        {%- for column in ['event'] + counted_event_types() %}
        coalesce(sum(daily.{{ column }}_count) {{ window }}, 0)::integer as {{ column }}_count_{{ days }}d,
        {%- endfor %}
        coalesce(sum(daily.purchase_value) {{ window }}, 0)::double as purchase_value_{{ days }}d,
        coalesce(sum(daily.duration_seconds) {{ window }}, 0)::double as duration_seconds_{{ days }}d,
        coalesce(sum(daily.active_day_count) {{ window }}, 0)::integer as active_day_count_{{ days }}d,
        {%- endfor %}
        sum(daily.event_count)::integer as event_count_lifetime,
        sum(daily.purchase_count)::integer as purchase_count_lifetime,
        sum(daily.purchase_value)::double as purchase_value_lifetime,
        sum(daily.active_day_count)::integer as active_day_count_lifetime,
        date_diff('second', max(daily.last_occurred_at), snapshots.as_of) / 86400.0 as recency_days,
        {%- for event_type in recency_event_types() %}
        date_diff('second', max(daily.last_{{ event_type }}_at), snapshots.as_of)
        / 86400.0 as {{ event_type }}_recency_days,
        {%- endfor %}
        date_diff('second', min(daily.first_occurred_at), snapshots.as_of) / 86400.0 as tenure_days,
        snapshots.as_of
    from snapshots
    inner join daily
        on snapshots.user_id = daily.user_id and {{ known_before('daily', 'snapshots') }}
    group by snapshots.user_id, snapshots.as_of
)

select * from measured
