{#
    CTEs that fit what a model's imputation block needs on the snapshots that train; the last is `fitted`, one row a
    feature, statistic and group. The values do not depend on the order of the rows, to the bit.

    Outliers come first: quantiles are fitted on what was observed, everything else on what was observed, capped.

    relation    the features before imputation, with as_of
    of          name of the model whose YAML holds the block
#}
{% macro fitted_statistics(relation, of) %}
{%- set grid = ref('foretable', 'int_snapshots__grid') -%}
{%- set plan = foretable.imputation_of(of, relation) -%}
{%- set statistics = foretable.statistics_of(plan) -%}
{%- set groups = foretable.groups_of(plan) -%}
training as (
    select
        {%- for feature in foretable.fitted_columns(plan) %}
        measured.{{ feature }}::double as {{ feature }},
        {%- endfor %}
        {%- for by in groups | map('last') | unique %}
        measured.{{ by }}::varchar as {{ by }}__group,
        {%- endfor %}
        measured.as_of
    from {{ relation }} as measured
    inner join {{ grid }} as grid
        on measured.as_of = grid.as_of
    where grid.is_training
),

limits as (
    select
        {%- for feature, quantiles in plan['capping'].items() %}
        quantile_cont(training.{{ feature }}, {{ quantiles[0] }}) as {{ feature }}__quantile_low,
        quantile_cont(training.{{ feature }}, {{ quantiles[1] }}) as {{ feature }}__quantile_high,
        {%- endfor %}
        min(training.as_of) as fitted_from,
        max(training.as_of) as fitted_to
    from training
),

bounded as (
    select
        training.* {% if plan['capping'] %}replace (
            {%- for feature in plan['capping'] %}
            {{ foretable.capped('training.' ~ feature, 'limits', feature) }} as {{ feature }}{{ ',' if not loop.last }}
            {%- endfor %}
        ){% endif %}
    from training
    cross join limits
),

centres as (
    select
        {%- for feature, needed in statistics.items() %}
        count(bounded.{{ feature }}) as {{ feature }}__row_count,
        {%- if 'mean' in needed or 'stddev' in needed %}
        sum(bounded.{{ feature }}::decimal(38, 9))::double
        / nullif(count(bounded.{{ feature }}), 0) as {{ feature }}__mean,
        {%- endif %}
        {%- for statistic, sql in [
            ['median', 'median(X)'], ['smallest', 'min(X)'], ['largest', 'max(X)'],
            ['quartile_low', 'quantile_cont(X, 0.25)'], ['quartile_high', 'quantile_cont(X, 0.75)'],
        ] if statistic in needed %}
        {{ sql | replace('X', 'bounded.' ~ feature) }} as {{ feature }}__{{ statistic }},
        {%- endfor %}
        {%- endfor %}
        count(*) as row_count
    from bounded
),

spreads as (
    select
        {%- for feature, needed in statistics.items() if 'stddev' in needed %}
        sqrt(
            sum(
                ((bounded.{{ feature }} - centres.{{ feature }}__mean) * (bounded.{{ feature }} - centres.{{ feature }}__mean))
                ::decimal(38, 9)
            )::double / nullif(count(bounded.{{ feature }}) - 1, 0)
        ) as {{ feature }}__stddev,
        {%- endfor %}
        count(*) as row_count
    from bounded
    cross join centres
),

fitted as (
    {%- for feature, needed in statistics.items() %}
    {%- for statistic in needed %}
    select
        '{{ of }}' as fitted_for,
        '{{ feature }}' as feature,
        '{{ statistic }}' as statistic,
        null::varchar as group_column,
        null::varchar as group_value,
        {{ feature }}__{{ statistic }}::double as value,
        {{ feature }}__row_count as row_count,
        limits.fitted_from,
        limits.fitted_to
    from centres
    cross join spreads
    cross join limits
    union all
    {%- endfor %}
    {%- endfor %}
    {%- for feature, by in groups %}
    select
        '{{ of }}' as fitted_for,
        '{{ feature }}' as feature,
        'median' as statistic,
        '{{ by }}' as group_column,
        bounded.{{ by }}__group as group_value,
        median(bounded.{{ feature }}) as value,
        count(bounded.{{ feature }}) as row_count,
        min(bounded.as_of) as fitted_from,
        max(bounded.as_of) as fitted_to
    from bounded
    where bounded.{{ by }}__group is not null
    group by bounded.{{ by }}__group
    union all
    {%- endfor %}
    select
        null::varchar as fitted_for,
        null::varchar as feature,
        null::varchar as statistic,
        null::varchar as group_column,
        null::varchar as group_value,
        null::double as value,
        null::bigint as row_count,
        null::timestamp as fitted_from,
        null::timestamp as fitted_to
    where false
)
{%- endmacro %}


{# The numeric columns that a plan reads to fit. #}
{% macro fitted_columns(plan) %}
    {{- return(
        ((foretable.statistics_of(plan) | list) + (foretable.groups_of(plan) | map('first') | list)) | unique | list
    ) -}}
{% endmacro %}


{#
    CTEs that draw the training rows among which the method knn looks for the nearest; the last is `neighbours`, one row a
    feature and row that tells its value. Which rows are drawn depends on their keys alone.

    relation    the features before imputation, with as_of
    keys        columns that tell the rows of a snapshot apart
    statistics  the relation that fitted_statistics() filled
    of          name of the model whose YAML holds the block
#}
{% macro fitted_neighbours(relation, keys, statistics, of) %}
{%- set grid = ref('foretable', 'int_snapshots__grid') -%}
{%- set plan = foretable.imputation_of(of, relation) -%}
{{ foretable.statistics_row(plan, statistics, of) }},

training as (
    select
        measured.*,
        concat_ws(' ', {% for key in keys %}measured.{{ key }}::varchar, {% endfor %}measured.as_of::varchar) as neighbour
    from {{ relation }} as measured
    inner join {{ grid }} as grid
        on measured.as_of = grid.as_of
    where grid.is_training
),

bounds as (
    select
        min(training.as_of) as fitted_from,
        max(training.as_of) as fitted_to
    from training
),

neighbours as (
    {%- for feature, step in foretable.steps_by(plan, ['knn']) %}
    (
        select
            '{{ of }}' as fitted_for,
            '{{ feature }}' as feature,
            training.neighbour,
            training.{{ feature }}::double as value,
            {{ foretable.standardised('training', step['near']) }} as position,
            bounds.fitted_from,
            bounds.fitted_to
        from training
        cross join statistics
        cross join bounds
        where
            training.{{ feature }} is not null
            {%- for near in step['near'] %}
            and training.{{ near }} is not null
            {%- endfor %}
        qualify row_number() over (order by md5(training.neighbour), training.neighbour) <= {{ step.get('sample', 1000) }}
    )
    union all
    {%- endfor %}
    select
        null::varchar as fitted_for,
        null::varchar as feature,
        null::varchar as neighbour,
        null::double as value,
        null::double [] as position,
        null::timestamp as fitted_from,
        null::timestamp as fitted_to
    where false
)
{%- endmacro %}


{# A CTE `statistics` of one row, with <feature>__<statistic> for all that a plan needs. #}
{% macro statistics_row(plan, statistics, of) -%}
statistics as (
    select
        {%- for feature, needed in foretable.statistics_of(plan).items() %}
        {%- for statistic in needed %}
        max(fitted.value) filter (
            where fitted.feature = '{{ feature }}' and fitted.statistic = '{{ statistic }}' and fitted.group_column is null
        ) as {{ feature }}__{{ statistic }},
        {%- endfor %}
        {%- endfor %}
        count(*) as statistic_count
    from {{ statistics }} as fitted
    where fitted.fitted_for = '{{ of }}'
)
{%- endmacro %}


{# A value no lower and no higher than the fitted quantiles; NULL stays NULL, and without limits it stays as it is. #}
{% macro capped(value, limits, column) -%}
    case
        when {{ value }} < {{ limits }}.{{ column }}__quantile_low then {{ limits }}.{{ column }}__quantile_low
        when {{ value }} > {{ limits }}.{{ column }}__quantile_high then {{ limits }}.{{ column }}__quantile_high
        else {{ value }}
    end
{%- endmacro %}


{# Columns as a list of standard deviations from the mean; a missing one, or one that never varies, lies on the mean. #}
{% macro standardised(relation, columns) -%}
    [
        {%- for column in columns %}
        coalesce(
            ({{ relation }}.{{ column }}::double - statistics.{{ column }}__mean)
            / nullif(statistics.{{ column }}__stddev, 0),
            0
        )::double{{ ',' if not loop.last }}
        {%- endfor %}
    ]
{%- endmacro %}
