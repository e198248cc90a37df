-- The median price seen in each category, and over all (category_id NULL), fitted before the first snapshot: no
-- snapshot looks back at a price that was filled with what came after it, and rows known later never move it.
with events as (
    select * from {{ ref('stg_events') }}
    where rejection_reason is null
),

matched as (
    select * from {{ ref('int_events__matched') }}
),

items as (
    {{ versions_of('stg_items', 'item_id') }}
),

cut as (
    select min(as_of) as fitted_to
    from {{ ref('int_snapshots__grid') }}
    where not is_backfilled
),

{% if setting('as_of_mode') == 'known' -%}
-- What the first snapshot sees, also what was corrected or told to be a copy since.
early_events as (
    select
        events.*,
        cut.fitted_to
    from events
    cross join cut
    left join matched
        on events.row_id = matched.row_id
    where
        events.price is not null
        and events.occurred_at < cut.fitted_to
        and coalesce(events.loaded_at < cut.fitted_to, true)
        and coalesce(matched.hidden_on >= cut.fitted_to, true)
),

{% else -%}
early_events as (
    select
        events.*,
        cut.fitted_to
    from events
    anti join matched
        on events.row_id = matched.row_id
    cross join cut
    where events.price is not null and events.occurred_at < cut.fitted_to
),

{% endif -%}
priced as (
    select
        items.category_id,
        early_events.price,
        early_events.occurred_at,
        early_events.fitted_to
    from early_events
    left join items
        on
            early_events.item_id = items.item_id
            and early_events.occurred_at >= items.valid_from
            and early_events.occurred_at < items.valid_to
),

of_categories as (
    select
        priced.category_id,
        median(priced.price) as price,
        count(*) as event_count,
        min(priced.occurred_at) as fitted_from,
        any_value(priced.fitted_to) as fitted_to
    from priced
    where priced.category_id is not null
    group by priced.category_id
),

of_all as (
    select
        null as category_id,
        median(priced.price) as price,
        count(*) as event_count,
        min(priced.occurred_at) as fitted_from,
        any_value(priced.fitted_to) as fitted_to
    from priced
),

medians as (
    select * from of_categories
    union all
    select * from of_all
)

select * from medians
