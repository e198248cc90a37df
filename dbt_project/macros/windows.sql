{# The windows of the behaviour features, in days before as_of. #}
{% macro windows() %}
    {{- return([1, 7, 30, 90]) -}}
{% endmacro %}


{#
    Daily tiles that a snapshot may see: the days before it that had become known by then. as_of is a midnight, so that
    `occurred_on < as_of` says the same as `occurred_at < as_of`, and likewise for known_on.

    tiles: alias of a table with occurred_on and known_on (dates). snapshots: alias of the snapshot table.
#}
{% macro known_before(tiles, snapshots) -%}
    {{ tiles }}.occurred_on < {{ snapshots }}.as_of and {{ tiles }}.known_on < {{ snapshots }}.as_of
{%- endmacro %}


{# The first instant's date of a window. #}
{% macro window_start(days, snapshots='snapshots') -%}
    {{ snapshots }}.as_of - interval '{{ days }} days'
{%- endmacro %}
