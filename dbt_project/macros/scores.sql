{#
    The rows of a prediction's table of scores, as a query; none where there is no such table, since builds leave the
    prediction out (`--exclude pred__spend_30d`): what joins it then has NULL for its scores.

    prediction      ref() of it
#}
{% macro scores_if_there(prediction) -%}
    {%- if not execute or prediction.is_cte or load_relation(prediction) is not none -%}
    select * from {{ prediction }}
    {%- else -%}
    select
        null::varchar as user_id,
        null::float as score,
        null::integer as score_rank,
        null::integer as score_decile,
        null::timestamp as as_of
    where false
    {%- endif -%}
{%- endmacro %}
