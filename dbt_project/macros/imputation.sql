{#
    What a feature model's YAML says of missing values, outliers and scales, read and checked. The block stands in the
    model's config, so that a team writes it beside a model of its own, or over a shipped one in its dbt_project.yml:

        models:
          - name: features__user
            config:
              meta:
                imputation:
                  age_years: {method: median, by: region}
                  session_seconds_mean_{days}d: median
                  purchase_value_mean_lifetime: {method: carry_forward, else: median}
                capping:
                  purchase_value_30d: [0.01, 0.99]
                scaling:
                  event_count_30d: standard

    {days} in a column's name stands for every window longer than a day. A column named in full goes before a pattern.
    docs/imputation.md tells what each method does.
#}
{% macro imputation_methods() %}
    {{- return({
        'constant': ['value'],
        'mean': [],
        'median': ['by'],
        'carry_forward': [],
        'interpolate': [],
        'knn': ['near', 'k', 'sample'],
    }) -}}
{% endmacro %}


{# What each way to scale is made of: value = (value - centre) / (top - bottom), or over the spread. #}
{% macro scaling_statistics() %}
    {{- return({
        'standard': ['mean', 'stddev'],
        'min_max': ['smallest', 'largest'],
        'robust': ['median', 'quartile_low', 'quartile_high'],
    }) -}}
{% endmacro %}


{#
    The block of a model as {fills: {column: [step, …]}, capping: {column: [low, high]}, scaling: {column: way}}; a step is
    a method with its keys, tried in order. Empty while dbt parses.

    of          name of the model whose YAML holds the block
    relation    what the columns have to be in; checked where it is built
#}
{% macro imputation_of(of, relation=none) %}
    {%- set plan = {'fills': {}, 'capping': {}, 'scaling': {}} -%}
    {%- if not execute -%}{{- return(plan) -}}{%- endif -%}
    {%- set nodes = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | selectattr('name', 'equalto', of) | list -%}
    {%- if not nodes -%}
        {{ exceptions.raise_compiler_error("no model '" ~ of ~ "', whose YAML is to say what is imputed") }}
    {%- endif -%}
    {%- set meta = nodes[0].config.get('meta', {}) -%}
    {%- for column, said in foretable.expanded_columns(meta.get('imputation')).items() -%}
        {%- do plan['fills'].update({column: foretable.imputation_steps(column, said)}) -%}
    {%- endfor -%}
    {%- for column, said in foretable.expanded_columns(meta.get('capping')).items() -%}
        {%- do foretable.check_capping(column, said) -%}
        {%- do plan['capping'].update({column: said}) -%}
    {%- endfor -%}
    {%- for column, said in foretable.expanded_columns(meta.get('scaling')).items() -%}
        {%- if said is not string or said not in foretable.scaling_statistics() -%}
            {{ exceptions.raise_compiler_error(
                "scaling of " ~ column ~ ": unknown way '" ~ said ~ "'; known: "
                ~ (foretable.scaling_statistics() | join(', '))
            ) }}
        {%- endif -%}
        {%- do plan['scaling'].update({column: said}) -%}
    {%- endfor -%}
    {%- do foretable.check_imputed_columns(plan, relation) -%}
    {{- return(plan) -}}
{% endmacro %}


{# The block with a column for each window in place of a pattern. #}
{% macro expanded_columns(block) %}
    {%- set patterns, named = {}, {} -%}
    {%- if block is not none and block is not mapping -%}
        {{ exceptions.raise_compiler_error(
            "imputation, capping and scaling are mappings of a column to what is done, not " ~ tojson(block)
        ) }}
    {%- endif -%}
    {%- for column, said in (block or {}).items() -%}
        {%- if '{days}' in column -%}
            {%- for days in foretable.windows() if days > 1 -%}
                {%- do patterns.update({column | replace('{days}', days): said}) -%}
            {%- endfor -%}
        {%- else -%}
            {%- do named.update({column: said}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do patterns.update(named) -%}
    {{- return(patterns) -}}
{% endmacro %}


{# The methods for a column in the order in which they are tried: a name, or a mapping with method, its keys, and else. #}
{% macro imputation_steps(column, said) %}
    {%- set methods = foretable.imputation_methods() -%}
    {%- set step = {'method': said} if said is string else said -%}
    {%- if step is not mapping or step.get('method') not in methods -%}
        {{ exceptions.raise_compiler_error(
            "imputation of " ~ column ~ ": unknown method '" ~ (step.get('method') if step is mapping else said)
            ~ "'; known: " ~ (methods | join(', '))
        ) }}
    {%- endif -%}
    {%- set known = ['method'] + methods[step['method']] + ['else'] -%}
    {%- for key in step if key not in known -%}
        {{ exceptions.raise_compiler_error(
            "imputation of " ~ column ~ ": method " ~ step['method'] ~ " takes no '" ~ key ~ "'; known: " ~ (known | join(', '))
        ) }}
    {%- endfor -%}
    {%- if step['method'] == 'constant' and step.get('value') is none -%}
        {{ exceptions.raise_compiler_error("imputation of " ~ column ~ ": method constant needs a value: {method: constant, value: 0}") }}
    {%- endif -%}
    {%- if step['method'] == 'knn' -%}
        {%- set near, k, sample = step.get('near'), step.get('k', 5), step.get('sample', 1000) -%}
        {%- if near is string or near is mapping or near is not iterable or not near or column in near -%}
            {{ exceptions.raise_compiler_error(
                "imputation of " ~ column ~ ": method knn needs near, a list of other columns that tell who is alike: "
                ~ "{method: knn, near: [event_count_30d, recency_days], k: 5}"
            ) }}
        {%- endif -%}
        {%- if k is not integer or sample is not integer or k < 1 or sample < k -%}
            {{ exceptions.raise_compiler_error(
                "imputation of " ~ column ~ ": k and sample are whole numbers, and sample is not below k; found k="
                ~ k ~ ", sample=" ~ sample
            ) }}
        {%- endif -%}
    {%- endif -%}
    {%- set rest = foretable.imputation_steps(column, step['else']) if step.get('else') else [] -%}
    {{- return([step] + rest) -}}
{% endmacro %}


{% macro check_capping(column, said) %}
    {%- set expected = "capping of " ~ column ~ " is [low, high], two quantiles with 0 <= low < high <= 1, not " ~ tojson(said) -%}
    {%- if said is string or said is not sequence or said | length != 2 or said | reject('number') | list -%}
        {{ exceptions.raise_compiler_error(expected) }}
    {%- endif -%}
    {%- if not 0 <= said[0] < said[1] <= 1 -%}
        {{ exceptions.raise_compiler_error(expected) }}
    {%- endif -%}
{% endmacro %}


{# Every column that a plan names is in the relation; where it is not built yet, DuckDB says so in its own words. #}
{% macro check_imputed_columns(plan, relation) %}
    {%- set built = load_relation(relation) if relation is not none and relation is not string else none -%}
    {%- if built is none -%}{{- return('') -}}{%- endif -%}
    {%- set there = [] -%}
    {%- for row in run_query('describe ' ~ built).rows -%}{%- do there.append(row[0]) -%}{%- endfor -%}
    {%- set named = (plan['fills'] | list) + (plan['capping'] | list) + (plan['scaling'] | list) -%}
    {%- for steps in plan['fills'].values() -%}
        {%- for step in steps -%}
            {%- do named.extend(step.get('near', []) | list) -%}
            {%- if step.get('by') -%}{%- do named.append(step['by']) -%}{%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for column in named if column not in there -%}
        {{ exceptions.raise_compiler_error(
            "the imputation block names '" ~ column ~ "', which " ~ built.identifier ~ " does not have; it has: "
            ~ (there | sort | join(', '))
        ) }}
    {%- endfor -%}
{% endmacro %}


{# The statistics that a plan needs, {feature: [statistic, …]}. #}
{% macro statistics_of(plan) %}
    {%- set of_method = {
        'mean': ['mean'], 'median': ['median'], 'interpolate': ['smallest', 'largest'],
        'constant': [], 'carry_forward': [], 'knn': [],
    } -%}
    {%- set needed = [] -%}
    {%- for column, steps in plan['fills'].items() -%}
        {%- for step in steps -%}
            {%- for statistic in of_method[step['method']] -%}{%- do needed.append([column, statistic]) -%}{%- endfor -%}
            {%- for near in step.get('near', []) -%}
                {%- do needed.extend([[near, 'mean'], [near, 'stddev']]) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for column in plan['capping'] -%}
        {%- do needed.extend([[column, 'quantile_low'], [column, 'quantile_high']]) -%}
    {%- endfor -%}
    {%- for column, way in plan['scaling'].items() -%}
        {%- for statistic in foretable.scaling_statistics()[way] -%}{%- do needed.append([column, statistic]) -%}{%- endfor -%}
    {%- endfor -%}
    {%- set statistics = {} -%}
    {%- for column, statistic in needed -%}
        {%- if statistic not in statistics.setdefault(column, []) -%}{%- do statistics[column].append(statistic) -%}{%- endif -%}
    {%- endfor -%}
    {{- return(statistics) -}}
{% endmacro %}


{# The groups whose medians a plan needs, as [feature, group column]. #}
{% macro groups_of(plan) %}
    {%- set groups = [] -%}
    {%- for column, steps in plan['fills'].items() -%}
        {%- for step in steps if step.get('by') and [column, step['by']] not in groups -%}
            {%- do groups.append([column, step['by']]) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{- return(groups) -}}
{% endmacro %}


{# The steps of a plan by one of these methods, as [column, step]. #}
{% macro steps_by(plan, methods) %}
    {%- set found = [] -%}
    {%- for column, steps in plan['fills'].items() -%}
        {%- for step in steps if step['method'] in methods -%}{%- do found.append([column, step]) -%}{%- endfor -%}
    {%- endfor -%}
    {{- return(found) -}}
{% endmacro %}
