-- The medians' range ends before the first snapshot that validates or tests.
with medians as (
    select fitted_to from {{ ref('int_users__medians') }}
),

snapshots as (
    select min(as_of) as first_unseen
    from {{ ref('int_snapshots__grid') }}
    where not is_training
)

select *
from medians
cross join snapshots
where medians.fitted_to >= snapshots.first_unseen
