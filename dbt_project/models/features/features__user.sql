-- One row a user and snapshot: what was known of the user at that instant, missing values filled and flagged.
-- A view names no catalog: a warehouse that is copied, renamed or attached still reads its own tables.
-- depends_on: {{ ref('attributes__history') }}
with {{ imputed(
    ref('int_users__measured').include(database=false), keys=['user_id'],
    statistics=ref('fitted__statistics').include(database=false),
    neighbours=ref('fitted__neighbours').include(database=false), of='features__user'
) }}

select * from imputed
