{#
    The versions of a table's rows with the time in which each was valid, as a query: valid_from is in it, valid_to is not.
    Few versions an entity join faster by this range than by an as-of join.

    model: a model with `key` and valid_from, one row a version.
#}
{% macro versions_of(model, key) -%}
    select
        *,
        lead(valid_from, 1, timestamp '9999-12-31') over (partition by {{ key }} order by valid_from) as valid_to
    from {{ ref(model) }}
{%- endmacro %}
