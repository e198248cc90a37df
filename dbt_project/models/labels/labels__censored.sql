-- One row a label and as_of: how many rows know the outcome, and how many cannot know it yet.
-- A view names no catalog: a warehouse that is copied, renamed or attached still reads its own tables.
{%- set labels = {
    'purchased_1d': {'model': 'labels__purchase_1d', 'days': 1},
    'churned_1d': {'model': 'labels__churn_1d', 'days': 1},
    'purchased_30d': {'model': 'labels__purchase_30d', 'days': 30},
    'churned_30d': {'model': 'labels__churn_30d', 'days': 30},
    'spend_30d': {'model': 'labels__spend_30d', 'days': 30},
    'days_to_purchase_30d': {'model': 'labels__next_purchase_30d', 'days': 30, 'positive': '< 30'},
}.items() | selectattr('1.days', 'in', setting('horizons')) | list %}
{{ config(materialized='view', enabled=(labels | length > 0)) }}

with counts as (
    {%- for column, label in labels %}
    {{ label_counts(ref(label.model).include(database=false), column, label.days, label.get('positive', '> 0')) }}
    {{- ' union all' if not loop.last }}
    {%- endfor %}
)

select * from counts
