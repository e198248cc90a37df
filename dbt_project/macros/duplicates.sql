{#
    Of every copy the row that was kept, as a query of row_id, kept_row_id and matched_by: what a copy lost to may have lost
    to another row, and is followed until one that lost to none.

    matched: a model with row_id, winner_row_id and matched_by. No rows of it hide each other in a circle.
#}
{% macro followed_to_kept(matched) -%}
    with recursive followed as (
        select
            row_id,
            winner_row_id,
            matched_by
        from {{ ref(matched) }}
        union
        select
            followed.row_id,
            matched.winner_row_id,
            followed.matched_by
        from followed
        inner join {{ ref(matched) }} as matched
            on followed.winner_row_id = matched.row_id
    )

    select
        followed.row_id,
        followed.winner_row_id as kept_row_id,
        followed.matched_by
    from followed
    anti join {{ ref(matched) }} as matched
        on followed.winner_row_id = matched.row_id
{%- endmacro %}


{#
    Of every copy one row, from a CTE `told` of row_id, winner_row_id, rule_number and hidden_at, as a query: where several
    rules tell a copy, it bears the name of the first, and is hidden by whichever was known first. No hidden_at: no copy.

    rules: their names, in the order of rule_number
#}
{% macro told_once(rules) -%}
    select
        row_id,
        arg_min(winner_row_id, rule_number) as winner_row_id,
        {{ foretable.text_list(rules) }}[min(rule_number)] as matched_by,
        min(hidden_at)::date as hidden_on
    from told
    where hidden_at is not null
    group by row_id
{%- endmacro %}
