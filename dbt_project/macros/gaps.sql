{#
    Days between active days, and between days of purchase, as a query: gap_days and purchase_gap_days, NULL on the first
    day and, for purchases, on days without one. days: CTE with keys, occurred_on and has_purchase, one row a day.
#}
{% macro gaps_between_days(days, keys) -%}
    select
        {{ keys | join(', ') }},
        occurred_on - lag(occurred_on) over (
            partition by {{ keys | join(', ') }}
            order by occurred_on
        ) as gap_days,
        case
            when has_purchase
                then occurred_on - lag(occurred_on) over (
                    partition by {{ keys | join(', ') }}, has_purchase
                    order by occurred_on
                )
        end as purchase_gap_days,
        occurred_on
    from {{ days }}
{%- endmacro %}
