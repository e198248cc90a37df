{#
    What a team may set with --vars or under vars: in its own dbt_project.yml, and the default of each.

    source                 which mapping feeds the contract: models named <source>__events, <source>__users, …
    data                   the folder that holds the raw files; FORETABLE_DATA where the var is not set
    raw_schema             read relations of this schema (events, users, …) instead of files
    mapped_tables          the contract tables that the mapping brings; events is required
    run_at                 the instant of the run, for logs that do not say when a row was loaded
    collected_from, _to    the log is whole in [from, to); rows outside are quarantined. Without _to the log ends with its last event
    future_tolerance_hours how far a clock may run ahead of loaded_at before the row is quarantined
    max_price, max_quantity, max_duration_seconds
                           a row above is quarantined, and so is a negative one or NaN
    near_duplicate_seconds same user, item and type within this gap is one event; 0 turns the rule off
    snapshot_every         step of the snapshot grid, an interval such as '7 days' or '1 month'
    newest_as_of           newest snapshot; by default the midnight that starts the log's last day
    history_days           days of log before the first snapshot
    population_event_type  a user enters the snapshots with the first event of this type; none: of any type
    horizons               the horizons in days for which labels and predictions are built. What is fitted in SQL stops
                           before the splits of the longest
    sequence_length        events in a sequence
#}
{% macro setting(name) %}
    {%- set defaults = foretable.setting_defaults() -%}
    {%- if project_name == 'foretable' -%}
        {%- do foretable.check_vars(defaults) -%}
    {%- endif -%}
    {%- set by_source = {
        'online_retail': {
            'mapped_tables': ['events', 'items'],
            'near_duplicate_seconds': 0,
            'snapshot_every': '1 month',
            'population_event_type': 'purchase',
        },
        'taobao': {
            'mapped_tables': ['events', 'items'],
            'collected_from': '2017-11-25',
            'collected_to': '2017-12-04',
            'near_duplicate_seconds': 0,
            'snapshot_every': '1 day',
            'history_days': 3,
            'horizons': [1],
        },
    } -%}
    {%- if name not in defaults -%}
        {{ exceptions.raise_compiler_error("unknown setting '" ~ name ~ "'; known: " ~ (defaults | join(', '))) }}
    {%- endif -%}
    {%- set source_defaults = by_source.get(var('source', 'contract'), {}) -%}
    {{- return(var(name, source_defaults.get(name, defaults[name]))) -}}
{% endmacro %}


{% macro setting_defaults() %}
    {%- set defaults = {
        'source': 'contract',
        'data': env_var('FORETABLE_DATA', 'shop'),
        'raw_schema': none,
        'mapped_tables': ['events', 'users', 'items', 'reviews', 'campaigns', 'truth'],
        'run_at': run_started_at.strftime('%Y-%m-%d %H:%M:%S'),
        'collected_from': none,
        'collected_to': none,
        'future_tolerance_hours': 24,
        'max_price': 1000000,
        'max_quantity': 1000000,
        'max_duration_seconds': 10000000,
        'near_duplicate_seconds': 2,
        'snapshot_every': '7 days',
        'newest_as_of': none,
        'history_days': 90,
        'population_event_type': none,
        'horizons': [30],
        'sequence_length': 50,
    } -%}
    {{- return(defaults) -}}
{% endmacro %}


{#
    A misspelt var would be ignored without a word. Those of the command line are checked where the shipped project is run
    by itself; a team's project has vars of its own. This happens while dbt parses, before anything is built.
#}
{% macro check_vars(defaults) %}
    {%- set known = (defaults | list) + ['train'] -%}
    {%- for name in invocation_args_dict.get('vars') or {} if name not in known -%}
        {{ exceptions.raise_compiler_error("unknown var '" ~ name ~ "' in --vars; known: " ~ (known | join(', '))) }}
    {%- endfor -%}
    {%- for horizon in var('horizons', []) if horizon not in [1, 30] -%}
        {{ exceptions.raise_compiler_error(
            "horizons holds " ~ horizon ~ ", and there is no label or prediction of that many days; those of 1 and 30 days "
            ~ "are there. Others are models of your own project: foretable init --help"
        ) }}
    {%- endfor -%}
{% endmacro %}
