{# The windows of the behaviour features, in days before as_of. #}
{% macro windows() %}
    {{- return(foretable.setting('windows')) -}}
{% endmacro %}


{# The day that never comes: hidden_on of what stays. #}
{% macro end_of_time() -%}
    date '9999-12-31'
{%- endmacro %}


{#
    What a snapshot may see. known_on is the day on which a row became known, hidden_on the day on which a better one did.
    as_of is a midnight, so that days say the same as instants: `known_on < as_of` is `known_at < as_of`. What is known
    before as_of also happened before it.

    rows: alias of a table with known_on and hidden_on (dates). snapshots: alias of the snapshot table.
#}
{% macro known_before(rows, snapshots) -%}
    {{ rows }}.known_on < {{ snapshots }}.as_of and {{ snapshots }}.as_of <= {{ rows }}.hidden_on
{%- endmacro %}


{# The first instant's date of a window. #}
{% macro window_start(days, snapshots='snapshots') -%}
    {{ snapshots }}.as_of - interval '{{ days }} days'
{%- endmacro %}


{#
    CTEs that add up tiles over every window before every snapshot; the last is `windowed`, one row a snapshot, with
    <column>_<days>d and <column>_lifetime for each sum, and <column>_lifetime alone for each first and last. Columns of
    `largest` have the greatest value of a window.

    A day lies in one ring around a snapshot: the innermost window that it is in. Tiles are added up by ring, and a window
    is the sum of its rings: every tile is read once a snapshot and not once a window, and wide tables are put together
    by joins on one integer. A plain sum with a FILTER for each window takes fifteen times as long.

    snapshots   CTE with `keys` and as_of; narrow it with due()
    tiles       CTE with `keys`, occurred_on, known_on, hidden_on, and the columns
    sums        {column: type of its sums}; integers are added as doubles, which is exact below 2^53
    largest, first, last
                columns, of any type that orders
    windows     other windows than the setting's
#}
{% macro windowed(snapshots, tiles, keys, sums={}, largest=[], first=[], last=[], windows=none, name='windowed') %}
{%- set days_of_windows = windows or foretable.windows() -%}
{%- set outermost = days_of_windows | length -%}
{{ name }}__keys as materialized (
    select
        *,
        row_number() over () as number
    from (select distinct {{ keys | join(', ') }} from {{ snapshots }})
),

{{ name }}__instants as materialized (
    select
        as_of,
        row_number() over (order by as_of) as place
    from (select distinct as_of from {{ snapshots }})
),

{{ name }}__rings as materialized (
    select
        days.occurred_on,
        instants.as_of,
        instants.place,
        case
            {%- for days in days_of_windows %}
            when days.occurred_on >= {{ foretable.window_start(days, 'instants') }} then {{ loop.index0 }}
            {%- endfor %}
            else {{ outermost }}
        end as ring
    from (select distinct occurred_on from {{ tiles }}) as days
    inner join {{ name }}__instants as instants
        on days.occurred_on < instants.as_of
),

{{ name }}__sums as materialized (
    select
        (keyed.number * 65536 + rings.place) * 16 + rings.ring as cell
        {%- for column, type in sums.items() %},
        sum(tiles.{{ column }}{{ '::double' if type in ['integer', 'bigint'] }}) as {{ column }}
        {%- endfor %}
        {%- for column in largest + last %},
        max(tiles.{{ column }}) as {{ column }}
        {%- endfor %}
        {%- for column in first %},
        min(tiles.{{ column }}) as {{ column }}
        {%- endfor %}
    from {{ tiles }} as tiles
    inner join {{ name }}__keys as keyed
        on {% for key in keys %}tiles.{{ key }} = keyed.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
    inner join {{ name }}__rings as rings
        on tiles.occurred_on = rings.occurred_on and {{ foretable.known_before('tiles', 'rings') }}
    group by cell
),

{{ name }}__spots as (
    select
        snapshots.*,
        keyed.number * 65536 + instants.place as spot
    from {{ snapshots }} as snapshots
    inner join {{ name }}__keys as keyed
        on {% for key in keys %}snapshots.{{ key }} = keyed.{{ key }}{{ ' and ' if not loop.last }}{% endfor %}
    inner join {{ name }}__instants as instants
        on snapshots.as_of = instants.as_of
),

{% for ring in range(outermost + 1) -%}
{{ name }}__ring_{{ ring }} as (
    select
        cell >> 4 as spot,
        * exclude (cell)
    from {{ name }}__sums
    where cell & 15 = {{ ring }}
),

{% endfor -%}
{{ name }} as (
    select
        {%- for key in keys %}
        spots.{{ key }},
        {%- endfor %}
        {%- for days in days_of_windows + ['lifetime'] %}
        {%- set rings = range(loop.index) %}
        {%- set window = days if days == 'lifetime' else days ~ 'd' %}
        {%- for column, type in sums.items() %}
        (
            {%- for ring in rings -%}
            coalesce(ring_{{ ring }}.{{ column }}, 0){{ ' + ' if not loop.last }}
            {%- endfor -%}
        )::{{ type }} as {{ column }}_{{ window }},
        {%- endfor %}
        {%- for column in largest %}
        greatest(
            {%- for ring in rings -%}
            ring_{{ ring }}.{{ column }}{{ ', ' if not loop.last }}
            {%- endfor -%}
        ) as {{ column }}_{{ window }},
        {%- endfor %}
        {%- endfor %}
        {%- for column in first + last %}
        {{ 'least' if column in first else 'greatest' }}(
            {%- for ring in range(outermost + 1) -%}
            ring_{{ ring }}.{{ column }}{{ ', ' if not loop.last }}
            {%- endfor -%}
        ) as {{ column }}_lifetime,
        {%- endfor %}
        spots.as_of
    from {{ name }}__spots as spots
    {%- for ring in range(outermost + 1) %}
    left join {{ name }}__ring_{{ ring }} as ring_{{ ring }}
        on spots.spot = ring_{{ ring }}.spot
    {%- endfor %}
)
{%- endmacro %}
