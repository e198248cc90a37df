-- raw = kept + duplicate + quarantined
with counts as (
    select
        {%- if 'reviews' in setting('mapped_tables') %}
        (select count(*) from {{ ref(setting('source') ~ '__reviews') }}) as raw_count,
        {%- else %}
        0 as raw_count,
        {%- endif %}
        (
            select count(*) from {{ ref('int_reviews__known') }}
            where is_kept
        ) as kept_count,
        (select count(*) from {{ ref('duplicates__reviews') }}) as duplicate_count,
        (select count(*) from {{ ref('quarantine__reviews') }}) as quarantined_count
)

select *
from counts
where raw_count <> kept_count + duplicate_count + quarantined_count
