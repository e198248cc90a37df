-- UCI Online Retail, one row an invoice line: https://archive.ics.uci.edu/dataset/352/online+retail
-- The publisher gives lines no id, so lines that are alike in all columns are copies of one.
{{ config(enabled=(var('source', 'contract') == 'online_retail')) }}

with lines as (
    select * from read_parquet({{ data_file('online_retail_transactions.parquet') }})
),

events as (
    select
        lines.CustomerID::varchar as user_id,
        lines.InvoiceNo as session_id,
        case when starts_with(lines.InvoiceNo, 'C') then 'return' else 'purchase' end as event_type,
        lines.StockCode as item_id,
        lines.Country as channel,
        lines.InvoiceNo as order_id,
        abs(lines.Quantity) as quantity,
        lines.UnitPrice as price,
        -- The first that holds names the line, whatever else is wrong with it.
        case
            when lines.CustomerID is null then 'line_without_customer'
            when starts_with(lines.InvoiceNo, 'A') then 'bad_debt_adjustment'
            when lines.Quantity <= 0 and not starts_with(lines.InvoiceNo, 'C') then 'stock_adjustment'
            when lines.UnitPrice <= 0 then 'line_without_price'
        end as rejection_reason,
        lines.InvoiceDate as occurred_at
    from lines
)

select * from events
