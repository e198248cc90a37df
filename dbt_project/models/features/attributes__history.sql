-- One row a table of attributes: does its source say when rows changed? Where it does not, a row shows the present.
{{ config(materialized='table') }}

with {% for table in ['users', 'items'] -%}
{{ table }} as (
    {{ mapped_table(table) }}
),

{{ table }}_counted as (
    select
        '{{ table }}' as source_table,
        count({{ table }}.{{ table[:-1] }}_id) as row_count,
        count({{ instant_of(table ~ '.updated_at') }}) as dated_row_count
    from {{ table }}
),

{% endfor -%}
counted as (
    select * from users_counted
    union all
    select * from items_counted
),

judged as (
    select
        *,
        row_count = 0 or dated_row_count > 0 as has_history
    from counted
)

select * from judged
