-- Which usable reviews are copies of which: one row a duplicate, with the rule that matched and the row it lost to.
-- A version is seen until the next one of its id is known: hidden_on is the last day whose midnight sees it.
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
        {{ review_known_at() }} as known_at
    from {{ ref('stg_reviews') }}
    where rejection_reason is null
),

-- Rule 1. Of rows with one id the latest wins.
versions as (
    select
        row_id,
        last_value(row_id) over (
            partition by review_id
            order by known_at, row_id
            rows between unbounded preceding and unbounded following
        ) as winner_row_id,
        lead(known_at) over (partition by review_id order by known_at, row_id) as hidden_at
    from reviews
    where review_id is not null and {{ 'review_id' in rules }}
),

replaced as (
    select
        row_id,
        winner_row_id,
        'review_id' as matched_by,
        hidden_at
    from versions
    where winner_row_id <> row_id
),

-- Rule 2. Of reviews that say the same of an item at the same instant, whatever their ids, the first known wins.
with_one_id as (
    select reviews.*
    from reviews
    anti join replaced
        on reviews.row_id = replaced.row_id
),

by_content as (
    select
        row_id,
        first_value(row_id) over same_content as winner_row_id,
        first_value(known_at) over same_content as hidden_at
    from with_one_id
    where {{ 'content' in rules }}
    window same_content as (
        partition by
            md5(
                concat_ws(
                    chr(31),
                    {%- for column in contract_columns('reviews') if column != 'review_id' %}
                    coalesce({{ column }}::varchar, chr(30)){{ ',' if not loop.last }}
                    {%- endfor %}
                )
            )
        order by known_at, row_id
    )
),

copied as (
    select
        row_id,
        winner_row_id,
        'content' as matched_by,
        hidden_at
    from by_content
    where winner_row_id <> row_id
),

-- Rule 3. A chain of reviews of one user and item, the text of each near to that of the one before, is one review: its
-- first. Texts are compared in small letters, blanks as one, up to 1,000 characters: the time of a distance grows with
-- the square of the length. The distance counts bytes.
with_one_content as (
    select with_one_id.*
    from with_one_id
    anti join copied
        on with_one_id.row_id = copied.row_id
),

texts as (
    select
        row_id,
        user_id,
        item_id,
        known_at,
        left(regexp_replace(lower(body), '\s+', ' ', 'g'), 1000) as body_text
    from with_one_content
    where body is not null and item_id is not null and {{ 'near' in rules }}
),

stepped as (
    select
        *,
        lag(body_text) over (partition by user_id, item_id order by known_at, row_id) as previous_text
    from texts
),

compared as (
    select
        row_id,
        user_id,
        item_id,
        known_at,
        case
            when previous_text is null then true
            when previous_text = body_text then false
            -- So much longer or shorter that no more has to be asked.
            when
                abs(strlen(body_text) - strlen(previous_text))
                > {{ unlike }} * greatest(strlen(body_text), strlen(previous_text))
                then true
            else
                levenshtein(body_text, previous_text)
                > {{ unlike }} * greatest(strlen(body_text), strlen(previous_text))
        end as is_chain_head
    from stepped
),

chained as (
    select
        row_id,
        last_value(case when is_chain_head then row_id end ignore nulls) over chain_so_far as winner_row_id,
        last_value(case when is_chain_head then known_at end ignore nulls) over chain_so_far as hidden_at
    from compared
    window chain_so_far as (
        partition by user_id, item_id
        order by known_at, row_id
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
    select * from replaced
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
)

select * from matched
