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
