-- Taobao UserBehavior, one row a page view, cart, favourite or purchase: https://tianchi.aliyun.com/dataset/649
-- Seconds since 1970 become Beijing time, whose days the shop lives by. A pause of 30 minutes ends a session.
{{ config(enabled=(var('source', 'contract') == 'taobao')) }}

with behaviour as (
    select
        *,
        make_timestamp("timestamp" * 1000000) + interval '8 hours' as occurred_at
    from read_parquet({{ data_file('taobao_userbehavior_sample_events.parquet') }})
),

paused as (
    select
        *,
        coalesce(
            occurred_at > lag(occurred_at) over (
                partition by user_id
                order by occurred_at, item_id, behavior
            ) + interval '30 minutes',
            true
        ) as is_session_start
    from behaviour
),

events as (
    select
        paused.user_id,
        paused.user_id || '-' || sum(paused.is_session_start::integer) over (
            partition by paused.user_id
            order by paused.occurred_at, paused.item_id, paused.behavior
        ) as session_id,
        paused.behavior as event_type,
        paused.item_id,
        paused.occurred_at
    from paused
)

select * from events
