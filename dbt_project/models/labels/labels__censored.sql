-- One row a label and as_of: how many rows know the outcome, and how many cannot know it yet.
-- A view names no catalog: a warehouse that is copied, renamed or attached still reads its own tables.
{%- set horizons = setting('horizons') | select('in', [1, 30]) | list %}
{{ config(materialized='view', enabled=(horizons | length > 0)) }}

with counts as (
    {%- for days in horizons %}
    {%- for label, name in {'purchased': 'purchase', 'churned': 'churn'}.items() %}
    {%- set labels = ref('labels__' ~ name ~ '_' ~ days ~ 'd').include(database=false) %}
    {{ label_counts(labels, label ~ '_' ~ days ~ 'd', days) }}
    {{- ' union all' if not loop.last }}
    {%- endfor %}
    {{- ' union all' if not loop.last }}
    {%- endfor %}
)

select * from counts
