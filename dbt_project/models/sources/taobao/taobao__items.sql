-- One row an item, with its category (the greatest, where it had several).
{{ config(enabled=(var('source', 'contract') == 'taobao')) }}

with behaviour as (
    select * from read_parquet({{ data_file('taobao_userbehavior_sample_events.parquet') }})
),

items as (
    select
        behaviour.item_id,
        max(behaviour.category_id) as category_id
    from behaviour
    group by behaviour.item_id
)

select * from items
