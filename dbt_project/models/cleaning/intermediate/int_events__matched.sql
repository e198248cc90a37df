-- Which usable rows are copies of which: one row a duplicate, with the rule that matched and the row that it lost to.
-- A copy is seen until the first row that makes it one is known: hidden_on is the last day whose midnight sees it. Once
-- a copy, always a copy, even of a version that was corrected since: what is known later changes no earlier snapshot.
--
-- No rows hide each other in a circle, because of one order in which a row loses to earlier ones only: first events
-- that moved, by a correction of their time, the more often the earlier; then by time; at one instant those with an id
-- come first, then the first known. No version of an event comes later in this order than the version before it.
{{ config(
    materialized='grown', identity=['row_id', 'winner_row_id', 'matched_by', 'hidden_on'], log=['row_id']
) }}

{%- set is_grown = grows() %}
{%- set rules = setting('duplicate_rules') %}
{%- set gap = "interval '" ~ setting('near_duplicate_seconds') ~ " seconds'" %}

{%- set usable %}
    select
        *,
        greatest(occurred_at, coalesce(loaded_at, occurred_at)) as known_at
    from {{ ref('stg_events') }}
    where rejection_reason is null
{%- endset %}

{#- What the rows that came or went since the last run, or whose versions did, may tell anything about: rows of the same
    user, item and type, and without an item those of the same moment. -#}
{%- set touched_rows %}
changed as (
    select row_id, user_id, item_id, event_type, occurred_at
    from {{ changed_rows('stg_events') if is_grown else ref('stg_events') }}
    union
    select row_id, user_id, item_id, event_type, occurred_at
    from {{ changed_rows('int_events__versions') if is_grown else ref('int_events__versions') }}
),

changed_without_item as (
    select * from changed
    where item_id is null
),

touched as (
    select usable.*
    from usable
    semi join changed
        on
            usable.user_id = changed.user_id
            and usable.item_id = changed.item_id
            and usable.event_type = changed.event_type
    union all
    select usable.*
    from usable
    semi join changed_without_item
        on
            usable.user_id = changed_without_item.user_id
            and usable.event_type = changed_without_item.event_type
            and usable.occurred_at = changed_without_item.occurred_at
    where usable.item_id is null
)
{%- endset %}

{%- if is_grown %}
{{ replaces(
    'row_id in (with usable as (' ~ usable ~ '), ' ~ touched_rows
    ~ ' select row_id from touched union select row_id from changed)'
) }}
{%- endif %}
with usable as not materialized (
    {{ usable }}
),

{% if is_grown -%}
{{ touched_rows }},

{% endif -%}
{% set looked_at = 'touched' if is_grown else 'usable' -%}
versions as (
    select * from {{ ref('int_events__versions') }}
),

-- Rule 1. Of rows with one id the latest load stands. Those that it replaced still tell copies; a row that says the
-- same as the version before it tells nothing.
replaced as (
    select versions.*
    from versions
    semi join {{ looked_at }}
        on versions.row_id = {{ looked_at }}.row_id
    where versions.hidden_at is not null
),

events as not materialized (
    select
        {{ looked_at }}.*,
        coalesce(versions.first_row_id, {{ looked_at }}.row_id) as first_row_id,
        coalesce(versions.move_count, 0) as move_count,
        coalesce(versions.first_known_at, {{ looked_at }}.known_at) as first_known_at
    from {{ looked_at }}
    left join versions
        on {{ looked_at }}.row_id = versions.row_id
    where not coalesce(versions.is_redelivered, false)
),

-- Rule 2. A row without id is a copy of any row that says the same; two rows with ids of their own are two events.
moments_without_id as (
    select distinct
        user_id,
        occurred_at
    from events
    where event_id is null and {{ 'content' in rules }}
),

contents as (
    select
        events.row_id,
        events.event_id,
        events.known_at,
        {{ content_hash('events', 'events') }} as content_hash
    from events
    semi join moments_without_id
        on events.user_id = moments_without_id.user_id and events.occurred_at = moments_without_id.occurred_at
),

repeated_contents as (
    select content_hash
    from contents
    group by content_hash
    having count(*) > 1
),

by_content as (
    select
        contents.row_id,
        contents.event_id,
        first_value(contents.row_id) over so_far as winner_row_id,
        min(contents.known_at) over before as hidden_at
    from contents
    semi join repeated_contents
        on contents.content_hash = repeated_contents.content_hash
    window
        so_far as (
            partition by contents.content_hash
            order by contents.event_id is null, contents.known_at, contents.row_id
        ),
        before as (
            partition by contents.content_hash
            order by contents.event_id is null, contents.known_at, contents.row_id
            rows between unbounded preceding and 1 preceding
        )
),

copied as (
    select * from by_content
    where event_id is null and hidden_at is not null
),

-- Rule 3. A chain of events of one user, item and type, each within the gap of the one before, is one event: its first.
-- Few places hold a chain; only these are looked at any further.
stepped as (
    select
        user_id,
        item_id,
        event_type,
        occurred_at <= lag(occurred_at) over same_event + {{ gap }} as is_near
    from events
    where item_id is not null and {{ 'near' in rules and setting('near_duplicate_seconds') > 0 }}
    window same_event as (partition by user_id, item_id, event_type order by occurred_at)
),

chain_places as (
    select distinct
        user_id,
        item_id,
        event_type
    from stepped
    where is_near
),

placed as (
    select
        events.row_id,
        events.user_id,
        events.event_type,
        events.item_id,
        events.first_row_id,
        events.move_count,
        events.event_id is null as is_without_id,
        coalesce(
            events.occurred_at > lag(events.occurred_at) over same_event + {{ gap }},
            true
        ) as is_chain_head,
        events.occurred_at,
        events.first_known_at,
        events.known_at
    from events
    semi join chain_places
        on
            events.user_id = chain_places.user_id
            and events.item_id = chain_places.item_id
            and events.event_type = chain_places.event_type
    window same_event as (
        partition by events.user_id, events.item_id, events.event_type
        order by events.occurred_at, events.row_id
    )
),

-- Of the rows within the gap, one loses to the earlier ones that moved as often, and if it did not move, to all that
-- did. Frames of time are slow: the wide one is laid around moved rows only.
moved_places as (
    select distinct
        user_id,
        item_id,
        event_type
    from placed
    where move_count > 0
),

beside_moved as (
    select
        placed.row_id,
        min(placed.known_at) filter (where placed.move_count > 0) over (
            partition by placed.user_id, placed.item_id, placed.event_type
            order by placed.occurred_at
            range between {{ gap }} preceding and {{ gap }} following
        ) as known_at
    from placed
    semi join moved_places
        on
            placed.user_id = moved_places.user_id
            and placed.item_id = moved_places.item_id
            and placed.event_type = moved_places.event_type
),

preceded as (
    select
        placed.*,
        least(
            min(placed.known_at) over shortly_before,
            min(placed.known_at) over same_instant,
            case when placed.move_count = 0 then beside_moved.known_at end
        ) as hidden_at,
        max(case when placed.is_chain_head then placed.occurred_at end) over so_far as chain_starts_at
    from placed
    left join beside_moved
        on placed.row_id = beside_moved.row_id
    window
        shortly_before as (
            partition by placed.user_id, placed.item_id, placed.event_type, placed.move_count
            order by placed.occurred_at
            range between {{ gap }} preceding and interval '1 microsecond' preceding
        ),
        same_instant as (
            partition by placed.user_id, placed.item_id, placed.event_type, placed.move_count, placed.occurred_at
            order by placed.is_without_id, placed.first_known_at, placed.first_row_id
            rows between unbounded preceding and current row exclude group
        ),
        so_far as (
            partition by placed.user_id, placed.item_id, placed.event_type
            order by placed.occurred_at, placed.row_id
            rows between unbounded preceding and current row
        )
),

chained as (
    select
        *,
        first_value(row_id) over (
            partition by user_id, item_id, event_type, chain_starts_at
            order by -move_count, occurred_at, is_without_id, first_known_at, first_row_id, row_id
        ) as winner_row_id
    from preceded
),

told as (
    select
        row_id,
        winner_row_id,
        1 as rule_number,
        hidden_at
    from replaced
    union all
    select
        row_id,
        winner_row_id,
        2 as rule_number,
        hidden_at
    from copied
    union all
    select
        row_id,
        winner_row_id,
        3 as rule_number,
        hidden_at
    from chained
),

losers as (
    {{ told_once(['event_id', 'content', 'near']) }}
),

matched as (
    select
        losers.row_id,
        coalesce(versions.winner_row_id, losers.winner_row_id) as winner_row_id,
        losers.matched_by,
        losers.hidden_on
    from losers
    left join versions
        on losers.winner_row_id = versions.row_id
)

select * from matched
