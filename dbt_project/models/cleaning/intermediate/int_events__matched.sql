-- Which usable rows are copies of which: one row a duplicate, with the rule that matched and the row that it lost to.
-- A copy is seen until the row that it loses to is known: hidden_on is the last day whose midnight sees it.
{{ config(
    materialized='grown', identity=['row_id', 'winner_row_id', 'matched_by', 'hidden_on'], log=['row_id']
) }}

{%- set is_grown = grows() %}
{%- set rules = setting('duplicate_rules') %}
{%- set usable %}
    select
        *,
        greatest(occurred_at, coalesce(loaded_at, occurred_at)) as known_at
    from {{ ref('stg_events') }}
    where rejection_reason is null
{%- endset %}

{#- What the rows that came or went since the last run may tell anything about, rule by rule: rows of the same id; rows
    of the same moment, which may have the same content as one of these; rows of the same user, item and type. -#}
{%- set touched_by_rule %}
changed as (
    select * from {{ changed_rows('stg_events') if is_grown else ref('stg_events') }}
),

touched_by_id as (
    select usable.*
    from usable
    where
        usable.event_id in (select changed.event_id from changed)
        or usable.row_id in (select changed.row_id from changed)
),

moments as (
    select user_id, occurred_at from touched_by_id
    union
    select user_id, occurred_at from changed
),

touched_by_content as (
    select usable.*
    from usable
    semi join moments
        on usable.user_id = moments.user_id and usable.occurred_at = moments.occurred_at
),

places as (
    select user_id, item_id, event_type from touched_by_content
    union
    select user_id, item_id, event_type from changed
),

touched as (
    select usable.*
    from usable
    where usable.row_id in (select row_id from touched_by_content)
    union all
    select usable.*
    from usable
    semi join places
        on
            usable.user_id = places.user_id
            and usable.item_id = places.item_id
            and usable.event_type = places.event_type
    where usable.row_id not in (select row_id from touched_by_content)
)
{%- endset %}

{%- if is_grown %}
{{ replaces(
    'row_id in (with usable as (' ~ usable ~ '), ' ~ touched_by_rule
    ~ ' select row_id from touched union select row_id from changed)'
) }}
{%- endif %}
with usable as (
    {{ usable }}
),

{% if is_grown -%}
{{ touched_by_rule }},

-- Of rows that only share user, item and type with a changed one, the first two rules have nothing new to say.
settled as (
    select * from {{ this }}
    where
        matched_by in ('event_id', 'content')
        and row_id in (select row_id from touched)
        and row_id not in (select row_id from touched_by_content)
),

events as (
    select * from touched
    where row_id not in (select row_id from settled)
),

{% else -%}
events as (
    select * from usable
),

{% endif -%}
-- Rule 1. Of rows with one id the latest load wins, and of those that say the same the first.
repeated_ids as (
    select event_id
    from events
    where event_id is not null and {{ 'event_id' in rules }}
    group by event_id
    having count(*) > 1
),

versions as (
    select
        events.row_id,
        events.event_id,
        events.known_at,
        {{ content_hash('events') }} as content_hash
    from events
    semi join repeated_ids
        on events.event_id = repeated_ids.event_id
),

compared as (
    select
        *,
        (
            content_hash is distinct from lag(content_hash) over (partition by event_id order by known_at, row_id)
        ) as is_new_content
    from versions
),

by_event_id as (
    select
        row_id,
        last_value(case when is_new_content then row_id end ignore nulls) over (
            partition by event_id
            order by known_at, row_id
            rows between unbounded preceding and unbounded following
        ) as winner_row_id,
        first_value(case when is_new_content then known_at end ignore nulls) over (
            partition by event_id
            order by known_at, row_id
            rows between 1 following and unbounded following
        ) as replaced_at,
        is_new_content,
        known_at
    from compared
),

redelivered as (
    select
        row_id,
        winner_row_id,
        'event_id' as matched_by,
        case when is_new_content then replaced_at else known_at end as hidden_at
    from by_event_id
    where winner_row_id <> row_id
),

-- Rule 2. A row without id is a copy of any row that says the same; two rows with ids of their own are two events.
with_one_id as (
    select events.*
    from events
    anti join redelivered
        on events.row_id = redelivered.row_id
),

moments_without_id as (
    select distinct
        user_id,
        occurred_at
    from with_one_id
    where event_id is null and {{ 'content' in rules }}
),

contents as (
    select
        with_one_id.row_id,
        with_one_id.event_id,
        with_one_id.known_at,
        {{ content_hash('with_one_id') }} as content_hash
    from with_one_id
    semi join moments_without_id
        on with_one_id.user_id = moments_without_id.user_id and with_one_id.occurred_at = moments_without_id.occurred_at
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
        first_value(contents.row_id) over same_content as winner_row_id,
        first_value(contents.known_at) over same_content as hidden_at
    from contents
    semi join repeated_contents
        on contents.content_hash = repeated_contents.content_hash
    window same_content as (
        partition by contents.content_hash
        order by contents.event_id is null, contents.known_at, contents.row_id
    )
),

copied as (
    select
        row_id,
        winner_row_id,
        'content' as matched_by,
        hidden_at
    from by_content
    where event_id is null and winner_row_id <> row_id
),

-- Rule 3. A chain of events of one user, item and type, each within the gap of the one before, is one event: its first.
with_one_content as (
    select with_one_id.*
    from with_one_id
    anti join copied
        on with_one_id.row_id = copied.row_id
),

stepped as (
    select
        row_id,
        user_id,
        item_id,
        event_type,
        occurred_at,
        known_at,
        coalesce(
            occurred_at > lag(occurred_at) over same_event + interval '{{ setting('near_duplicate_seconds') }} seconds',
            true
        ) as is_chain_head
    from with_one_content
    where item_id is not null and {{ 'near' in rules and setting('near_duplicate_seconds') > 0 }}
    window same_event as (partition by user_id, item_id, event_type order by occurred_at, row_id)
),

chained as (
    select
        row_id,
        last_value(case when is_chain_head then row_id end ignore nulls) over chain_so_far as winner_row_id,
        last_value(case when is_chain_head then known_at end ignore nulls) over chain_so_far as hidden_at
    from stepped
    window chain_so_far as (
        partition by user_id, item_id, event_type
        order by occurred_at, row_id
        rows between unbounded preceding and current row
    )
),

near as (
    select
        row_id,
        winner_row_id,
        'near' as matched_by,
        hidden_at
    from chained
    where winner_row_id <> row_id
),

losers as (
    select * from redelivered
    union all
    select * from copied
    union all
    select * from near
),

matched as (
    select
        row_id,
        winner_row_id,
        matched_by,
        hidden_at::date as hidden_on
    from losers
    {%- if is_grown %}
    union all
    select * from settled
    {%- endif %}
)

select * from matched
