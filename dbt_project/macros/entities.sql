{# Event types that happen to an item: what is counted for items and categories. #}
{% macro item_event_types() %}
    {{- return(foretable.counted_event_types() | reject('equalto', 'search') | list) -}}
{% endmacro %}


{#
    The tiles of things that events happen to (items, categories), as a model: one row a thing, day, and time in which
    the events may be seen. Money and quantities are added up as decimals: a sum of doubles would change with the order
    of rows.

    key: the column of the events that names the thing; events without one are left out.
#}
{% macro daily_of_things(key) %}
{%- set is_grown = foretable.grows() %}
{%- if is_grown %}
{%- set changed = '(select (' ~ key ~ ', occurred_on) from ' ~ foretable.changed_rows('int_events__imputed') ~ ')' %}
{{ foretable.replaces('(' ~ key ~ ', occurred_on) in ' ~ changed) }}
{%- endif %}
with events as (
    select
        *,
        occurred_at::date as occurred_on
    from {{ ref('int_events__imputed') }}
    where
        {{ key }} is not null
        {%- if is_grown %}
        and ({{ key }}, occurred_at::date) in {{ changed }}
        {%- endif %}
),

daily as (
    select
        {{ key }},
        count(*) as event_count,
        {%- for event_type in foretable.item_event_types() %}
        sum((event_type = '{{ event_type }}')::utinyint)::bigint as {{ event_type }}_count,
        {%- endfor %}
        coalesce(
            sum(coalesce(quantity, 1)::decimal(18, 3)) filter (where event_type = 'purchase'), 0
        )::decimal(18, 3) as purchase_quantity,
        coalesce(
            sum((price * coalesce(quantity, 1))::decimal(18, 4)) filter (where event_type = 'purchase'), 0
        )::decimal(18, 4) as purchase_value,
        occurred_on,
        known_on,
        hidden_on,
        max(occurred_at) as last_occurred_at,
        {%- for event_type in foretable.recency_event_types() %}
        max(occurred_at) filter (where event_type = '{{ event_type }}') as last_{{ event_type }}_at,
        {%- endfor %}
        min(occurred_at) as first_occurred_at
    from events
    group by {{ key }}, occurred_on, known_on, hidden_on
)

select * from daily
{% endmacro %}


{#
    Which things are in the snapshots, as two CTEs; the last is `snapshots`, narrowed to those that are due: every thing
    at every snapshot after its first known event or, where the catalogue dates it, after its first version there.

    key: item_id or category_id. daily: name of the model of its tiles.
#}
{% macro snapshots_of_things(key, daily) -%}
first_seen as (
    select
        {{ key }},
        min(known_on) as first_known_on
    from (
        select
            {{ key }},
            known_on
        from {{ ref(daily) }}
        union all
        select
            {{ key }},
            valid_from::date as known_on
        from {{ ref('stg_items') }}
        where {{ key }} is not null and valid_from > timestamp '0001-01-01'
    )
    group by {{ key }}
),

snapshots as (
    select
        first_seen.{{ key }},
        snapshots.as_of
    from first_seen
    inner join {{ ref('int_snapshots__grid') }} as snapshots
        on first_seen.first_known_on < snapshots.as_of
    where {{ foretable.due('snapshots') }}
)
{%- endmacro %}


{#
    Counts, sums and recency of things, from their tiles, as a model.

    things: 'items' or 'categories', whose models int_<things>__snapshots and int_<things>__daily are read
    key:    their id
#}
{% macro activity_of_things(things, key) %}
{%- set sums = {'event_count': 'integer'} %}
{%- for event_type in foretable.item_event_types() %}
{%- do sums.update({event_type ~ '_count': 'integer'}) %}
{%- endfor %}
{%- do sums.update({'purchase_quantity': 'double', 'purchase_value': 'double'}) %}
with snapshots as (
    select
        {{ key }},
        as_of
    from {{ ref('int_' ~ things ~ '__snapshots') }} as snapshots
    where {{ foretable.due('snapshots') }}
),

daily as (
    select * from {{ ref('int_' ~ things ~ '__daily') }}
),

{{ foretable.windowed(
    'snapshots', 'daily', [key], sums=sums, first=['first_occurred_at'],
    last=['last_occurred_at', 'last_view_at', 'last_cart_at', 'last_purchase_at']
) }},

measured as (
    select
        windowed.* exclude (
            as_of, first_occurred_at_lifetime, last_occurred_at_lifetime,
            {%- for event_type in foretable.recency_event_types() %}
            last_{{ event_type }}_at_lifetime{{ ', ' if not loop.last }}
            {%- endfor %}
        ),
        date_diff('second', last_occurred_at_lifetime, as_of) / 86400.0 as recency_days,
        {%- for event_type in foretable.recency_event_types() %}
        date_diff('second', last_{{ event_type }}_at_lifetime, as_of) / 86400.0 as {{ event_type }}_recency_days,
        {%- endfor %}
        date_diff('second', first_occurred_at_lifetime, as_of) / 86400.0 as seen_days,
        as_of
    from windowed
)

select * from measured
{% endmacro %}


{# The windows over which reviews are counted: there are few of them. #}
{% macro rating_windows() %}
    {{- return([30, 90]) -}}
{% endmacro %}


{#
    Count and mean of the ratings of things, as a model. A review's category is the one that its item had when it was
    written.

    things, key: as in activity_of_things.
#}
{% macro ratings_of_things(things, key) %}
with snapshots as (
    select
        {{ key }},
        as_of
    from {{ ref('int_' ~ things ~ '__snapshots') }} as snapshots
    where {{ foretable.due('snapshots') }}
),

reviews as (
    select
        {{ 'reviews.item_id' if key == 'item_id' else 'items.' ~ key }},
        reviews.rating::decimal(18, 4) as rating,
        reviews.created_at::date as occurred_on,
        reviews.known_on,
        reviews.hidden_on
    from {{ ref('int_reviews__known') }} as reviews
    {%- if key != 'item_id' %}
    asof inner join {{ ref('stg_items') }} as items
        on reviews.item_id = items.item_id and reviews.created_at >= items.valid_from
    {%- endif %}
),

tiles as (
    select
        {{ key }},
        count(*) as rating_count,
        sum(rating) as rating_sum,
        occurred_on,
        known_on,
        hidden_on
    from reviews
    where {{ key }} is not null
    group by {{ key }}, occurred_on, known_on, hidden_on
),

{{ foretable.windowed(
    'snapshots', 'tiles', [key], sums={'rating_count': 'integer', 'rating_sum': 'double'},
    windows=foretable.rating_windows()
) }},

measured as (
    select
        {{ key }},
        {%- for window in foretable.rating_windows() + ['lifetime'] %}
        {%- set suffix = window if window == 'lifetime' else window ~ 'd' %}
        rating_count_{{ suffix }},
        rating_sum_{{ suffix }} / nullif(rating_count_{{ suffix }}, 0) as rating_mean_{{ suffix }},
        {%- endfor %}
        as_of
    from windowed
)

select * from measured
{% endmacro %}


{#
    What the counts of a thing's windows say together, for a select list: conversion, returns, price paid, and velocity,
    the last window against the one of the same length before it. One is added to both counts, so that a thing without
    events before has a velocity, too.

    activity: CTE or alias of an activity model.
#}
{% macro rates_of_things(activity) -%}
    {%- for days in foretable.windows() if days > 1 %}
    {{ activity }}.cart_count_{{ days }}d
    / nullif({{ activity }}.view_count_{{ days }}d, 0) as view_to_cart_rate_{{ days }}d,
    {{ activity }}.purchase_count_{{ days }}d
    / nullif({{ activity }}.cart_count_{{ days }}d, 0) as cart_to_purchase_rate_{{ days }}d,
    {{ activity }}.purchase_count_{{ days }}d
    / nullif({{ activity }}.view_count_{{ days }}d, 0) as view_to_purchase_rate_{{ days }}d,
    {{ activity }}.return_count_{{ days }}d
    / nullif({{ activity }}.purchase_count_{{ days }}d, 0) as return_rate_{{ days }}d,
    {{ activity }}.purchase_value_{{ days }}d
    / nullif({{ activity }}.purchase_quantity_{{ days }}d, 0) as paid_price_mean_{{ days }}d,
    {%- endfor %}
    {%- for days in foretable.windows() if 2 * days in foretable.windows() %}
    {%- for counted in ['view', 'cart', 'purchase'] %}
    {%- set column = activity ~ '.' ~ counted ~ '_count_' %}
    ({{ column }}{{ days }}d + 1)
    / ({{ column }}{{ 2 * days }}d - {{ column }}{{ days }}d + 1) as {{ counted }}_velocity_{{ days }}d,
    {%- endfor %}
    {%- endfor %}
{%- endmacro %}


{#
    The days before each due snapshot, as a CTE `days` of occurred_on and as_of: events are joined to it by their day,
    which is one lookup where a range of instants would compare every event with every snapshot.

    days: how far back.
#}
{% macro days_before_snapshots(days) -%}
days as (
    select
        (snapshots.as_of - to_days(steps.step::integer))::date as occurred_on,
        snapshots.as_of
    from {{ ref('int_snapshots__grid') }} as snapshots
    cross join range(1, {{ days }} + 1) as steps (step)
    where {{ foretable.due('snapshots') }}
)
{%- endmacro %}


{#
    The events of the sessions of int_sessions__snapshots, each with its as_of, as a query. All of a session's events
    lie after its start, so that the log before the first start is not read.
#}
{% macro events_of_sessions() -%}
    select
        events.*,
        sessions.as_of
    from {{ ref('int_events__imputed') }} as events
    inner join {{ ref('int_sessions__snapshots') }} as sessions
        on
            events.user_id = sessions.user_id
            and events.session_id = sessions.session_id
            and {{ foretable.known_before('events', 'sessions') }}
    where
        {{ foretable.due('sessions') }}
        and events.occurred_at >= (
            select min(started_at) from {{ ref('int_sessions__snapshots') }} as sessions
            where {{ foretable.due('sessions') }}
        )
{%- endmacro %}


{#
    The contract of a table whose columns are named after settings: it is enforced where these have their defaults.

    names: the settings.
#}
{% macro contract_of_defaults(names) %}
    {%- set changed = [] -%}
    {%- for name in names if foretable.setting(name) != foretable.setting_defaults()[name] -%}
        {%- do changed.append(name) -%}
    {%- endfor -%}
    {{- return({'enforced': not changed}) -}}
{% endmacro %}
