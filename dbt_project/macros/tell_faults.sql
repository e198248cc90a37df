{#
    Says in the log what the leak tests and those of drift and decay found in a run: dbt itself says only how many rows a test returned. A test that failed
    is asked once more for its first rows.
#}
{% macro tell_faults(results) %}
    {%- set tests = [
        'future_poison', 'label_shuffle', 'no_tautology', 'fitted_on_training_rows', 'censored_labels', 'no_drift', 'no_decay'
    ] -%}
    {%- for result in (results if execute else []) if result.node.resource_type == 'test' and result.status in ['fail', 'warn'] -%}
        {%- set of = result.node.test_metadata -%}
        {%- if of is not none and of and of.name in tests and of.namespace in ['foretable', none] -%}
            {%- for row in run_query('select fault from (' ~ result.node.compiled_code ~ ') limit 10').rows -%}
                {%- do log(row[0], info=true) -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}
