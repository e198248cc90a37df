-- One row a user and snapshot: distinct items and categories seen. A thing counts in a window if its last sight does.
with snapshots as (
    select * from {{ ref('int_users__snapshots') }}
),

events as (
    select * from {{ ref('int_events__imputed') }}
),

{% for thing in ['item', 'category'] %}
{{ thing }}_days as (
    select distinct
        events.user_id,
        events.{{ thing }}_id,
        events.occurred_at::date as occurred_on,
        events.known_at::date as known_on
    from events
    where events.{{ thing }}_id is not null
),

{{ thing }}_sights as (
    select
        snapshots.user_id,
        snapshots.as_of,
        {{ thing }}_days.{{ thing }}_id,
        max({{ thing }}_days.occurred_on) as last_seen_on
    from snapshots
    inner join {{ thing }}_days
        on
            snapshots.user_id = {{ thing }}_days.user_id
            and {{ known_before(thing ~ '_days', 'snapshots') }}
            and {{ thing }}_days.occurred_on >= {{ window_start(windows() | max) }}
    group by snapshots.user_id, snapshots.as_of, {{ thing }}_days.{{ thing }}_id
),

{{ thing }}_counts as (
    select
        {{ thing }}_sights.user_id,
        {%- for days in windows() %}
        count(*) filter (
            where {{ thing }}_sights.last_seen_on >= {{ window_start(days, thing ~ '_sights') }}
        )::integer as distinct_{{ thing }}_count_{{ days }}d,
        {%- endfor %}
        {{ thing }}_sights.as_of
    from {{ thing }}_sights
    group by {{ thing }}_sights.user_id, {{ thing }}_sights.as_of
),

{% endfor %}
joined as (
    select
        snapshots.user_id,
        {%- for thing in ['item', 'category'] %}
        {%- for days in windows() %}
        coalesce(
            {{ thing }}_counts.distinct_{{ thing }}_count_{{ days }}d, 0
        ) as distinct_{{ thing }}_count_{{ days }}d,
        {%- endfor %}
        {%- endfor %}
        snapshots.as_of
    from snapshots
    left join item_counts
        on snapshots.user_id = item_counts.user_id and snapshots.as_of = item_counts.as_of
    left join category_counts
        on snapshots.user_id = category_counts.user_id and snapshots.as_of = category_counts.as_of
)

select * from joined
