-- This shop's log as foretable's table of events. One row a thing that a user did.
--
-- Needed:   user_id, event_type, occurred_at
-- Welcome:  event_id, session_id, item_id, loaded_at, quantity, price, duration_seconds, query, channel, device,
--           campaign_id, order_id
-- Other columns are kept. Nothing has to be cleaned here: duplicates, broken times and impossible prices are found later,
-- and each row that is left out says why in quarantine__events.
--
-- data_file('log.csv') is a file of the folder that the var `data` names. A table that already stands in the warehouse
-- does as well: `from raw.clicks`.
with log as (
    select * from read_csv({{ foretable.data_file('log.csv') }}, all_varchar = true)
),

events as (
    select
        log.event_key as event_id,
        log.visitor as user_id,
        log.visit as session_id,
        -- event_type is one of: view, search, cart, remove, favourite, purchase, return, click, impression, share, register
        case log.action
            when 'product viewed' then 'view'
            when 'searched' then 'search'
            when 'added to basket' then 'cart'
            when 'taken from basket' then 'remove'
            when 'wished for' then 'favourite'
            when 'bought' then 'purchase'
            when 'sent back' then 'return'
            when 'banner clicked' then 'click'
            when 'banner shown' then 'impression'
            when 'recommended' then 'share'
            when 'signed up' then 'register'
            else log.action
        end as event_type,
        log.product as item_id,
        log.words as query,
        log.came_by as channel,
        log.pieces as quantity,
        log.unit_price as price,
        log.happened_at as occurred_at,
        log.stored_at as loaded_at
    from log
)

select * from events
