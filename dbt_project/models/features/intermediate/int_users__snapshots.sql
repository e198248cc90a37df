-- Who is looked at when: every user at every snapshot after their first known event.
with events as (
    select * from {{ ref('int_events__imputed') }}
),

snapshots as (
    select * from {{ ref('int_snapshots__grid') }}
),

users as (
    select
        events.user_id,
        min(events.known_at) as first_known_at
    from events
    {%- if setting('population_event_type') %}
    where events.event_type = '{{ setting('population_event_type') }}'
    {%- endif %}
    group by events.user_id
),

crossed as (
    select
        users.user_id,
        snapshots.is_training,
        snapshots.is_newest,
        snapshots.as_of,
        snapshots.log_ends_at
    from users
    inner join snapshots
        on users.first_known_at < snapshots.as_of
)

select * from crossed
