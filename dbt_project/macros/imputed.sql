{#
    CTEs that fill, cap and scale as the model's imputation block says; the last is `imputed`: the relation's columns, an
    is_<column>_imputed for each column of `imputation` and an is_<column>_capped for each of `capping`, and as_of.
    A row depends on rows of its own entity with an earlier as_of and on what was fitted, on nothing later.

    relation    the features before imputation, with as_of
    keys        columns that tell the rows of a snapshot apart
    statistics  a relation made by fitted_statistics()
    neighbours  a relation made by fitted_neighbours(); needed for the method knn alone
    of          name of the model whose YAML holds the block
#}
{% macro imputed(relation, keys, statistics, of, neighbours=none) %}
{%- set plan = foretable.imputation_of(of, relation) -%}
{%- set groups = foretable.groups_of(plan) -%}
{%- set traced = foretable.steps_by(plan, ['carry_forward', 'interpolate']) | map('first') | unique | list -%}
{%- set nearest = foretable.steps_by(plan, ['knn']) -%}
{%- if nearest and neighbours is none -%}
    {{ exceptions.raise_compiler_error(
        "imputation of " ~ nearest[0][0] ~ " by knn needs a table of neighbours; give imputed() one that "
        ~ "fitted_neighbours() made: neighbours=ref('fitted__neighbours')"
    ) }}
{%- endif -%}
{%- set replaced = (plan['fills'] | list) + (plan['capping'] | list) + (plan['scaling'] | list) -%}
measured as (
    select * from {{ relation }}
),

{{ foretable.statistics_row(plan, statistics, of) }},

{% if traced -%}
{{ foretable.earlier_values(keys, traced) }},

{% endif -%}
{% for feature, by in groups -%}
{{ feature }}__by_{{ by }} as (
    select
        fitted.group_value,
        fitted.value
    from {{ statistics }} as fitted
    where
        fitted.fitted_for = '{{ of }}' and fitted.feature = '{{ feature }}'
        and fitted.statistic = 'median' and fitted.group_column = '{{ by }}'
),

{% endfor -%}
{% for feature, step in nearest -%}
{{ foretable.nearest_values(feature, step, keys, neighbours, of) }},

{% endfor -%}
imputed as (
    select
        measured.* exclude (as_of)
        {%- if replaced %} replace (
            {%- for column in replaced | unique %}
            {{ foretable.imputed_value(plan, column) }} as {{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        ){% endif %},
        {%- for column in plan['fills'] %}
        measured.{{ column }} is null and {{ foretable.filled(plan, column) }} is not null as is_{{ column }}_imputed,
        {%- endfor %}
        {%- for column in plan['capping'] %}
        coalesce(
            measured.{{ column }} < statistics.{{ column }}__quantile_low
            or measured.{{ column }} > statistics.{{ column }}__quantile_high,
            false
        ) as is_{{ column }}_capped,
        {%- endfor %}
        measured.as_of
    from measured
    cross join statistics
    {%- if traced %}
    left join earlier
        on {{ foretable.same_row('measured', 'earlier', keys) }}
    {%- endif %}
    {%- for feature, by in groups %}
    left join {{ feature }}__by_{{ by }}
        on measured.{{ by }}::varchar = {{ feature }}__by_{{ by }}.group_value
    {%- endfor %}
    {%- for feature, step in nearest %}
    left join {{ feature }}__nearest
        on {{ foretable.same_row('measured', feature ~ '__nearest', keys) }}
    {%- endfor %}
)
{%- endmacro %}


{# A CTE `earlier`: of each entity and snapshot the last two observed values before it, and when they were. #}
{% macro earlier_values(keys, columns) -%}
earlier as (
    select
        {%- for key in keys %}
        measured.{{ key }},
        {%- endfor %}
        {%- for column in columns %}
        lag(measured.{{ column }}, 1 ignore nulls) over earlier as {{ column }}__last,
        lag(measured.{{ column }}, 2 ignore nulls) over earlier as {{ column }}__before,
        lag(case when measured.{{ column }} is not null then measured.as_of end, 1 ignore nulls)
            over earlier as {{ column }}__last_at,
        lag(case when measured.{{ column }} is not null then measured.as_of end, 2 ignore nulls)
            over earlier as {{ column }}__before_at,
        {%- endfor %}
        measured.as_of
    from measured
    window earlier as (partition by {% for key in keys %}measured.{{ key }}{{ ', ' if not loop.last }}{% endfor %} order by measured.as_of)
)
{%- endmacro %}


{# A CTE <feature>__nearest: for each row without the feature, the mean of the k nearest training rows; ties go by name. #}
{% macro nearest_values(feature, step, keys, neighbours, of) -%}
{{ feature }}__nearest as (
    select
        {%- for key in keys %}
        measured.{{ key }},
        {%- endfor %}
        list_avg(
            arg_min(
                neighbours.value,
                {
                    distance: list_distance(neighbours.position, {{ foretable.standardised('measured', step['near']) }}),
                    neighbour: neighbours.neighbour
                },
                {{ step.get('k', 5) }}
            )
        ) as value,
        measured.as_of
    from measured
    cross join statistics
    cross join {{ neighbours }} as neighbours
    where
        measured.{{ feature }} is null
        and neighbours.fitted_for = '{{ of }}' and neighbours.feature = '{{ feature }}'
    group by all
)
{%- endmacro %}


{# A column filled, then capped, then scaled. #}
{% macro imputed_value(plan, column) -%}
    {%- set value = foretable.filled(plan, column) -%}
    {%- if column in plan['capping'] -%}{%- set value = foretable.capped(value, 'statistics', column) -%}{%- endif -%}
    {%- if column in plan['scaling'] -%}{%- set value = foretable.scaled(value, column, plan['scaling'][column]) -%}{%- endif -%}
    {{ value }}
{%- endmacro %}


{# A column, or where it is missing what the first of its methods gives. #}
{% macro filled(plan, column) -%}
    {%- set value = 'measured.' ~ column -%}
    {%- if column not in plan['fills'] -%}{{- return(value) -}}{%- endif -%}
    {%- set values = [value] -%}
    {%- for step in plan['fills'][column] -%}
        {%- if step['method'] == 'constant' -%}
            {%- do values.append(foretable.literal(step['value'])) -%}
        {%- elif step['method'] == 'carry_forward' -%}
            {%- do values.append('earlier.' ~ column ~ '__last') -%}
        {%- elif step['method'] == 'interpolate' -%}
            {%- do values.append(foretable.on_the_line(column)) -%}
        {%- elif step['method'] == 'knn' -%}
            {%- do values.append(column ~ '__nearest.value') -%}
        {%- else -%}
            {%- if step.get('by') -%}{%- do values.append(column ~ '__by_' ~ step['by'] ~ '.value') -%}{%- endif -%}
            {%- do values.append('statistics.' ~ column ~ '__' ~ step['method']) -%}
        {%- endif -%}
    {%- endfor -%}
    {{- return('coalesce(' ~ (values | join(', ')) ~ ')') -}}
{%- endmacro %}


{#
    The line through the last two values before as_of, at as_of, within what was seen in training. A line to a later value
    would tell the future.
#}
{% macro on_the_line(column) -%}
    case
        when earlier.{{ column }}__before is null then earlier.{{ column }}__last
        else least(
            greatest(
                earlier.{{ column }}__last
                + (earlier.{{ column }}__last - earlier.{{ column }}__before)
                * date_diff('second', earlier.{{ column }}__last_at, measured.as_of)
                / date_diff('second', earlier.{{ column }}__before_at, earlier.{{ column }}__last_at)::double,
                statistics.{{ column }}__smallest
            ),
            statistics.{{ column }}__largest
        )
    end
{%- endmacro %}


{# A value on its fitted scale; a column that never varied in training has none and is NULL. #}
{% macro scaled(value, column, way) -%}
    {%- set fitted = 'statistics.' ~ column ~ '__' -%}
    {%- if way == 'standard' -%}
    ({{ value }} - {{ fitted }}mean) / nullif({{ fitted }}stddev, 0)
    {%- elif way == 'min_max' -%}
    ({{ value }} - {{ fitted }}smallest) / nullif({{ fitted }}largest - {{ fitted }}smallest, 0)
    {%- else -%}
    ({{ value }} - {{ fitted }}median) / nullif({{ fitted }}quartile_high - {{ fitted }}quartile_low, 0)
    {%- endif -%}
{%- endmacro %}


{# A value of YAML as SQL. #}
{% macro literal(value) -%}
    {%- if value is string -%}'{{ value | replace("'", "''") }}'
    {%- elif value is boolean -%}{{ 'true' if value else 'false' }}
    {%- else -%}{{ value }}
    {%- endif -%}
{%- endmacro %}


{% macro same_row(one, other, keys) -%}
    {% for key in keys %}{{ one }}.{{ key }} = {{ other }}.{{ key }} and {% endfor %}{{ one }}.as_of = {{ other }}.as_of
{%- endmacro %}
