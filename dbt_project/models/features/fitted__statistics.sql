-- One row a feature, statistic and group: what fills, caps and scales features__user, fitted on training snapshots
-- only.
{{ config(materialized='table') }}

with {{ fitted_statistics(ref('int_users__measured'), of='features__user') }}

select * from fitted
