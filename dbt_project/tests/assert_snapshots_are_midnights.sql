-- Daily tiles are exact only where a snapshot starts a day.
select *
from {{ ref('int_snapshots__grid') }}
where as_of <> date_trunc('day', as_of)
