{#
    The sample standard deviation of an integer column, from sums of integers: exact, so that the order of the rows leaves
    no trace, unlike in stddev_samp.

    column: an integer expression. window: a FILTER clause, or empty.
#}
{% macro stddev_of_integers(column, window='') -%}
    sqrt(
        (
            count({{ column }}) {{ window }} * sum({{ column }} * {{ column }}) {{ window }}
            - sum({{ column }}) {{ window }} * sum({{ column }}) {{ window }}
        )::double
        / nullif(count({{ column }}) {{ window }} * (count({{ column }}) {{ window }} - 1), 0)
    )
{%- endmacro %}
