-- Who is looked at when: every user at every snapshot after their first known event.
with users as (
    select * from {{ ref('int_users__first_seen') }}
),

snapshots as (
    select * from {{ ref('int_snapshots__grid') }}
),

crossed as (
    select
        users.user_id,
        snapshots.as_of
    from users
    inner join snapshots
        on users.first_known_on < snapshots.as_of
    where {{ due('snapshots') }}
)

select * from crossed
