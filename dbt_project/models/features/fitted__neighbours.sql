-- One row a feature and training row: those among which the method knn looks for the nearest.
{{ config(materialized='table') }}

with {{ fitted_neighbours(
    ref('int_users__measured'), keys=['user_id'], statistics=ref('fitted__statistics'), of='features__user'
) }}

select * from neighbours
