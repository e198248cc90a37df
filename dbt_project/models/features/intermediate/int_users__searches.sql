-- One row a user and snapshot: how many queries the user typed, and the category that most searches led to.
-- A query counts in a window if its last search does. Of two categories the one whose id sorts first is told.
with {{ settled_snapshots() }},

unsettled_events as (
    {{ events_of_unsettled() }}
),

unsettled_topics as (
    {{ searched_topics('unsettled_events', ['user_id', 'as_of']) }}
),

queries as (
    select
        user_id,
        true as is_settled,
        1 as distinct_query_count,
        occurred_on,
        occurred_on as known_on,
        hidden_on
    from {{ ref('int_users__queries') }}
    where {{ in_bucket('user_id') }}
    union all by name
    select
        user_id,
        false as is_settled,
        1 as distinct_query_count,
        max(occurred_at)::date as occurred_on,
        {{ only_at('as_of') }}
    from unsettled_events
    where event_type = 'search' and query is not null
    group by user_id, as_of, {{ query_text('query') }}
),

topics as (
    select
        user_id,
        true as is_settled,
        topic,
        search_count as topic_count,
        occurred_on,
        occurred_on as known_on,
        {{ end_of_time() }} as hidden_on
    from {{ ref('int_users__topics') }}
    where {{ in_bucket('user_id') }}
    union all by name
    select
        user_id,
        false as is_settled,
        topic,
        1 as topic_count,
        occurred_on,
        {{ only_at('as_of') }}
    from unsettled_topics
),

met as (
    select distinct
        user_id,
        is_settled,
        topic
    from topics
),

topic_snapshots as (
    select
        snapshots.user_id,
        snapshots.is_settled,
        met.topic,
        snapshots.as_of
    from snapshots
    inner join met
        on snapshots.user_id = met.user_id and snapshots.is_settled = met.is_settled
),

{{ windowed(
    'snapshots', 'queries', ['user_id', 'is_settled'], sums={'distinct_query_count': 'integer'},
    windows=voice_windows(), name='typed'
) }},

{{ windowed(
    'topic_snapshots', 'topics', ['user_id', 'is_settled', 'topic'], sums={'topic_count': 'integer'},
    windows=voice_windows(), name='led'
) }},

favourites as (
    select
        user_id,
        {%- for window in voice_windows() + ['lifetime'] %}
        {%- set window = window if window == 'lifetime' else window ~ 'd' %}
        (
            min({ 'fewer': -topic_count_{{ window }}, 'topic': topic }) filter (where topic_count_{{ window }} > 0)
        ).topic as search_topic_{{ window }},
        max(topic_count_{{ window }})
        / nullif(sum(topic_count_{{ window }}), 0)::double as search_topic_share_{{ window }},
        {%- endfor %}
        as_of
    from led
    group by user_id, as_of
),

measured as (
    select
        typed.user_id,
        favourites.* exclude (user_id, as_of),
        typed.* exclude (user_id, is_settled, as_of),
        typed.as_of
    from typed
    left join favourites
        on typed.user_id = favourites.user_id and typed.as_of = favourites.as_of
)

select * from measured
