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
    duplicate_rules        which rules tell that two events are one: event_id, content, near; a list
    review_duplicate_rules which rules tell that two reviews are one: review_id, content, near; a list
    review_similarity      the rule near takes two texts for one where at least this share of the longer one's letters
                           need not be changed to get the other
    max_rating             the best rating there is; a review with a higher one is quarantined, and so is a negative one
    good_rating, bad_rating
                           a rating from good_rating on is good, up to bad_rating it is bad
    campaigns_known_ahead  the kinds of campaigns that are known a year ahead; others are known once they have started,
                           unless the campaign's updated_at says when it was planned
    keep_history           remember with dbt snapshots each version of a user and an item that a run saw, for a source that
                           keeps only the present
    as_of_mode             known: a snapshot sees what was loaded before it; occurred: what had happened before it
    late_days              how late a row with loaded_at may arrive and still be found by a run that adds to the tables
    snapshot_every         step of the snapshot grid, an interval such as '7 days' or '1 month'
    snapshot_anchor        an instant of the grid: all others lie whole steps from it
    newest_as_of           newest snapshot, on the grid or not; by default the midnight that starts the log's last day
    history_days           days of log before the first snapshot
    population_event_type  a user enters the snapshots with the first event of this type; none: of any type
    horizons               the horizons in days for which labels and predictions are built. What is fitted in SQL stops
                           before the splits of the longest
    windows                the windows in days before as_of that features look back
    sequence_length        events in a sequence
    user_item_days         a pair of user and item is in features__user_item for so many days after they met; 0: none is
    session_days           a session is in features__session for so many days after it started; 0: none is
    batch_rows             users times snapshots that are computed at once, of a table of up to 100 columns; of wider ones
                           fewer. More is quicker and takes more memory
    drift_bounds           from when on monitoring__drift and the test no_drift call a feature drifted: psi, missing (how much
                           the share of missing values has risen), unknown (the share of rows with an unknown category)
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
            'snapshot_anchor': '2010-12-09',
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
        'duplicate_rules': ['event_id', 'content', 'near'],
        'review_duplicate_rules': ['review_id', 'content', 'near'],
        'review_similarity': 0.95,
        'max_rating': 5,
        'good_rating': 4,
        'bad_rating': 2,
        'campaigns_known_ahead': ['holiday'],
        'keep_history': false,
        'as_of_mode': 'known',
        'late_days': 3,
        'snapshot_every': '7 days',
        'snapshot_anchor': '2001-01-01',
        'newest_as_of': none,
        'history_days': 90,
        'population_event_type': none,
        'horizons': [30],
        'windows': [1, 3, 7, 14, 30, 60, 90, 180],
        'sequence_length': 50,
        'user_item_days': 30,
        'session_days': 1,
        'batch_rows': 1000000,
        'drift_bounds': {'psi': 0.2, 'missing': 0.1, 'unknown': 0.05},
    } -%}
    {{- return(defaults) -}}
{% endmacro %}


{#
    A misspelt var would be ignored without a word. Those of the command line are checked where the shipped project is run
    by itself; a team's project has vars of its own. This happens while dbt parses, before anything is built.
#}
{% macro check_vars(defaults) %}
    {%- set known = (defaults | list) + ['train', 'promote', 'plan', 'folds', 'leak_tests', 'publish', 'personal'] -%}
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


{# Settings that say what a run does and not what a table holds: changing one of them builds nothing anew. #}
{% macro settings_of_a_run() %}
    {{- return(['run_at', 'newest_as_of', 'late_days', 'batch_rows']) -}}
{% endmacro %}
