-- raw = kept + duplicate + quarantined
with counts as (
    select
        (select count(*) from {{ ref(setting('source') ~ '__events') }}) as raw_count,
        (
            select count(*) from {{ ref('int_events__imputed') }}
            where is_kept
        ) as kept_count,
        (select count(*) from {{ ref('duplicates__events') }}) as duplicate_count,
        (select count(*) from {{ ref('quarantine__events') }}) as quarantined_count
)

select *
from counts
where raw_count <> kept_count + duplicate_count + quarantined_count
