{# The windows of shares and entropies, in days: those of 30, 90 and 180 that the setting `windows` has. #}
{% macro profile_windows() %}
    {{- return(foretable.windows() | select('in', [30, 90, 180]) | list) -}}
{% endmacro %}


{# The suffixes of the columns that these windows have. #}
{% macro profile_suffixes() %}
    {{- return(foretable.suffixes_of(foretable.profile_windows())) -}}
{% endmacro %}


{# The suffixes of the columns that all windows have. #}
{% macro window_suffixes() %}
    {{- return(foretable.suffixes_of(foretable.windows())) -}}
{% endmacro %}


{% macro suffixes_of(days_of_windows) %}
    {%- set suffixes = [] -%}
    {%- for days in days_of_windows -%}
        {%- do suffixes.append(days ~ 'd') -%}
    {%- endfor -%}
    {{- return(suffixes + ['lifetime']) -}}
{% endmacro %}


{# The parts of the day, four hours each from midnight. #}
{% macro dayparts() %}
    {{- return(['night', 'dawn', 'morning', 'afternoon', 'evening', 'late']) -}}
{% endmacro %}


{#
    n · ln n of a count in whole millionths, 0 for 0: what an entropy is summed of. Whole numbers, whose sum is exact
    below 2^53, so that the order of the rows leaves no trace; a decimal would take ten times as long.
#}
{% macro count_log_count(count) -%}
    case when {{ count }} > 1 then round({{ count }} * ln({{ count }}) * 1000000) else 0 end
{%- endmacro %}


{#
    The entropy in nats of a distribution, from the sum of its counts and of their n · ln n: 0 where all is in one
    place, ln k where it is spread evenly over k, NULL where there is nothing. Rounded, so that all in one place is 0
    and not nearly 0.
#}
{% macro entropy_of_sums(total, count_log_counts) -%}
    case
        when {{ total }} > 0
            then round(greatest(ln({{ total }}) - {{ count_log_counts }} / 1000000.0 / {{ total }}, 0), 6)
    end
{%- endmacro %}


{#
    How much more there was of something in the last window than in the one before it, as
    (last − before) / (last + before): from −1 (nothing in the last) to 1 (nothing before it), NULL where there was nothing in either.

    last: the value of the window. both: the value of the window twice as long.
#}
{% macro trend_of(last, both) -%}
    (2 * {{ last }} - {{ both }}) / nullif({{ both }}, 0)::double
{%- endmacro %}


{# The windows that another one of twice their length stands beside. #}
{% macro trend_windows() %}
    {%- set days_of_windows = [] -%}
    {%- for days in [7, 30, 90] if days in foretable.windows() and 2 * days in foretable.windows() -%}
        {%- do days_of_windows.append(days) -%}
    {%- endfor -%}
    {{- return(days_of_windows) -}}
{% endmacro %}
