{#
    The sample standard deviation of integers from their count, sum and sum of squares: exact, so that the order of the rows
    leaves no trace, unlike in stddev_samp.
#}
{% macro stddev_of_sums(count, total, squares) -%}
    sqrt(
        ({{ count }}::hugeint * {{ squares }} - {{ total }}::hugeint * {{ total }})::double
        / nullif({{ count }}::bigint * ({{ count }} - 1), 0)
    )
{%- endmacro %}
