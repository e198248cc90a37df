{# The windows of the behaviour features, in days before as_of. #}
{% macro windows() %}
    {{- return([1, 7, 30, 90]) -}}
{% endmacro %}


{#
    Daily tiles that a snapshot may see. known_at is the later of occurred_at and loaded_at, so that what is known before
    as_of also happened before it. as_of is a midnight, so that `known_on < as_of` says the same as `known_at < as_of`.

    tiles: alias of a table with known_on (a date). snapshots: alias of the snapshot table.
#}
{% macro known_before(tiles, snapshots) -%}
    {{ tiles }}.known_on < {{ snapshots }}.as_of
{%- endmacro %}


{# The first instant's date of a window. #}
{% macro window_start(days, snapshots='snapshots') -%}
    {{ snapshots }}.as_of - interval '{{ days }} days'
{%- endmacro %}
