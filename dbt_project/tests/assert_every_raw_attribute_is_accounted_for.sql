-- raw = kept + quarantined, of users, items and campaigns
with counts as (
    {%- for table in ['users', 'items', 'campaigns'] %}
    select
        '{{ table }}' as raw_table,
        {%- if keeps_history(table) %}
        (select count(*) from ({{ rows_of_attributes(table) }})) as raw_count,
        {%- elif table in setting('mapped_tables') %}
        (select count(*) from {{ ref(setting('source') ~ '__' ~ table) }}) as raw_count,
        {%- else %}
        0 as raw_count,
        {%- endif %}
        (select count(*) from {{ ref('stg_' ~ table) }}) as kept_count,
        (select count(*) from {{ ref('quarantine__' ~ table) }}) as quarantined_count
    {{ 'union all' if not loop.last }}
    {%- endfor %}
)

select *
from counts
where raw_count <> kept_count + quarantined_count
