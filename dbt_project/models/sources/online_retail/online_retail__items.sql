-- One row a stock code. Postage, discounts, charges, samples and vouchers are told apart from goods by their category.
{{ config(enabled=(var('source', 'contract') == 'online_retail')) }}

with lines as (
    select * from read_parquet({{ data_file('online_retail_transactions.parquet') }})
),

items as (
    select
        lines.StockCode as item_id,
        mode(lines.Description order by lines.Description) as title,
        case
            when regexp_matches(lines.StockCode, '^([0-9]{5}|DCGS|PADS)') then 'goods'
            else 'not_goods'
        end as category_id
    from lines
    group by lines.StockCode
)

select * from items
