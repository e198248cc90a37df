-- One row a user and snapshot: what was known of the user at that instant, missing values filled and flagged.
-- depends_on: {{ ref('attributes__history') }}
with {{ imputed(
    ref('int_users__measured'), keys=['user_id'], statistics=ref('fitted__statistics'),
    neighbours=ref('fitted__neighbours'), of='features__user'
) }}

select * from imputed
