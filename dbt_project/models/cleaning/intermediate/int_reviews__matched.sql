-- Which usable reviews are copies of which: one row a duplicate, with the rule that matched and the row it lost to.
-- A copy is seen until the first row that makes it one is known: hidden_on is the last day whose midnight sees it. Once
-- a copy, always a copy, even of a version that was corrected since: what is known later changes no earlier snapshot.
--
-- A review loses only to one whose first version was known earlier: none hide each other in a circle.
{{ config(
    materialized='grown', identity=['row_id', 'winner_row_id', 'matched_by', 'hidden_on'], log=['row_id']
) }}

{%- set rules = review_rules() %}
{%- set unlike = '(1 - ' ~ setting('review_similarity') ~ ')' %}

{%- if grows() %}
{{ replaces('true') }}
{%- endif %}
with reviews as (
    select
        *,
        {{ review_known_at() }} as known_at,
        {%- if 'review_id' in rules %}
        coalesce('id ' || review_id, 'row ' || row_id)
        {%- else %}
        row_id
        {%- endif %} as version_of
    from {{ ref('stg_reviews') }}
    where rejection_reason is null
),

-- Rule 1. Of rows with one id the latest wins; a version is seen until the next one of its id is known. The place of a
-- review among all others is that of its first version.
versions as (
    select
        *,
        first_value((known_at, row_id)) over so_far as place,
        last_value(row_id) over all_of_them as standing_row_id,
        lead(known_at) over so_far as replaced_at
    from reviews
    window
        so_far as (partition by version_of order by known_at, row_id),
        all_of_them as (
            partition by version_of
            order by known_at, row_id
            rows between unbounded preceding and unbounded following
        )
),

-- Rule 2. Reviews that say the same of an item at the same instant are one, whatever their ids. A row loses from its
-- own day on where a review with an earlier place says the same by then, else from the day on which one comes to.
contents as (
    select
        *,
        {{ content_hash('reviews', 'versions') }} as content_hash
    from versions
    where {{ 'content' in rules }}
),

by_content as (
    select
        *,
        min(place) over (
            partition by content_hash
            order by known_at, row_id
            rows between unbounded preceding and 1 preceding
        ) as earlier_place
    from contents
),

copied as (
    select
        row_id,
        first_value(standing_row_id) over (partition by content_hash order by place) as winner_row_id,
        2 as rule_number,
        case
            when earlier_place < place then known_at
            else
                first_value(case when place < earlier_place then known_at end ignore nulls) over (
                    partition by content_hash
                    order by known_at, row_id
                    rows between 1 following and unbounded following
                )
        end as hidden_at
    from by_content
),

-- Rule 3. A chain of reviews of one user and item, each with a text near to one of the review before, is one review.
-- Texts are compared in small letters, blanks as one, up to 1,000 characters: the time of a distance grows with the
-- square of the length. The distance counts bytes.
texts as (
    select
        *,
        left(regexp_replace(lower(body), '\s+', ' ', 'g'), 1000) as body_text,
        min((known_at, row_id)) over (partition by user_id, item_id, place) as came_first
    from versions
    where body is not null and item_id is not null and {{ 'near' in rules }}
),

numbered as (
    select
        *,
        dense_rank() over (partition by user_id, item_id order by came_first) as turn
    from texts
),

said as (
    select
        user_id,
        item_id,
        turn,
        body_text,
        any_value(place) as place,
        min(known_at) as known_at
    from numbered
    group by user_id, item_id, turn, body_text
),

near_texts as (
    select
        earlier.user_id,
        earlier.item_id,
        later.turn,
        case when earlier.place < later.place then later.turn else earlier.turn end as copy_turn,
        case when earlier.place < later.place then later.body_text else earlier.body_text end as copy_text,
        greatest(earlier.known_at, later.known_at) as hidden_at
    from said as earlier
    inner join said as later
        on
            earlier.user_id = later.user_id
            and earlier.item_id = later.item_id
            and earlier.turn + 1 = later.turn
    where
        case
            when earlier.body_text = later.body_text then true
            -- So much longer or shorter that no more has to be asked.
            when
                abs(strlen(earlier.body_text) - strlen(later.body_text))
                > {{ unlike }} * greatest(strlen(earlier.body_text), strlen(later.body_text))
                then false
            else
                levenshtein(earlier.body_text, later.body_text)
                <= {{ unlike }} * greatest(strlen(earlier.body_text), strlen(later.body_text))
        end
),

linked as (
    select distinct
        user_id,
        item_id,
        turn
    from near_texts
),

chained as (
    select
        numbered.*,
        max(case when linked.turn is null then numbered.turn end) over (
            partition by numbered.user_id, numbered.item_id
            order by numbered.turn
        ) as chain_starts_at
    from numbered
    left join linked
        on
            numbered.user_id = linked.user_id
            and numbered.item_id = linked.item_id
            and numbered.turn = linked.turn
),

with_winners as (
    select
        *,
        first_value(standing_row_id) over (
            partition by user_id, item_id, chain_starts_at
            order by place
        ) as winner_row_id
    from chained
),

near as (
    select
        with_winners.row_id,
        with_winners.winner_row_id,
        3 as rule_number,
        near_texts.hidden_at
    from with_winners
    inner join near_texts
        on
            with_winners.user_id = near_texts.user_id
            and with_winners.item_id = near_texts.item_id
            and with_winners.turn = near_texts.copy_turn
            and with_winners.body_text = near_texts.copy_text
),

told as (
    select
        row_id,
        standing_row_id as winner_row_id,
        1 as rule_number,
        replaced_at as hidden_at
    from versions
    union all
    select * from copied
    union all
    select * from near
),

matched as (
    {{ told_once(['review_id', 'content', 'near']) }}
)

select * from matched
