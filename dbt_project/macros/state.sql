{# The tables of the schema `foretable`: what was trained, how good it is, what serves, what was scored, and each run. #}
{% macro create_state() %}
    {%- if target.database | lower in ['foretable', 'scores', 'scores_models', 'main', 'staging', 'cleaning', 'changes', 'raw'] -%}
        {{ exceptions.raise_compiler_error(
            "the warehouse file is named '" ~ target.database ~ "', which is also the name of a schema in it, so that "
            ~ "DuckDB cannot tell them apart; rename the file, to warehouse.duckdb say"
        ) }}
    {%- endif -%}
    {%- if execute and load_relation(api.Relation.create(
        database=target.database, schema='main', identifier='_published'
    )) is not none -%}
        {{ exceptions.raise_compiler_error(
            "the warehouse file is a published one, which is for reading and is replaced by every publish; build into the "
            ~ "warehouse that it was published from"
        ) }}
    {%- endif -%}
    create schema if not exists foretable;
    create schema if not exists scores;
    create schema if not exists changes;

    create sequence if not exists foretable.build_numbers;
    create table if not exists foretable.builds (
        build_number bigint not null,
        model varchar not null,
        fingerprint varchar not null,
        as_of_mode varchar not null,
        state varchar,
        run_id varchar not null,
        is_rebuilt boolean not null,
        run_at timestamp not null
    );

    create table if not exists foretable.code (
        macros_hash varchar not null
    );
    {% if execute %}
    delete from foretable.code;
    insert into foretable.code
    {{ foretable.macros_hash() }};
    {% endif %}

    create table if not exists foretable.compiled (
        model varchar not null,
        sql varchar not null
    );

    create table if not exists foretable.backfills (
        first_as_of timestamp not null,
        last_as_of timestamp not null,
        asked_at timestamp not null
    );

    create table if not exists foretable.models (
        prediction varchar not null,
        version integer not null,
        model varchar not null,
        kind varchar not null,
        entity varchar not null,
        label varchar not null,
        horizon_days integer not null,
        fingerprint varchar not null,
        config json not null,
        feature_schema json not null,
        environment json not null,
        split json not null,
        train_rows bigint not null,
        validate_rows bigint not null,
        test_rows bigint not null,
        train_seconds double not null,
        artifact blob not null,
        artifact_sha256 varchar not null,
        trained_at timestamp not null,
        primary key (prediction, version)
    );
    {%- for column, type in {
        'definition': 'varchar', 'target': 'varchar', 'examples': 'varchar', 'retired_at': 'timestamp',
        'params': 'json', 'base_log_odds': 'double', 'threshold': 'double', 'shadow_since': 'timestamp',
        'deciding_metric': "varchar default 'roc_auc'"
    }.items() %}
    alter table foretable.models add column if not exists {{ column }} {{ type }};
    {%- endfor %}

    create table if not exists foretable.active (
        prediction varchar primary key,
        version integer not null,
        since timestamp not null
    );

    create table if not exists foretable.promotions (
        prediction varchar not null,
        version integer not null,
        promoted_at timestamp not null,
        promoted_by varchar not null
    );

    create or replace view foretable.versions as
    select
        models.prediction,
        models.version,
        case
            when active.version is not null then 'active'
            when models.retired_at is not null then 'retired'
            else 'candidate'
        end as status,
        models.* exclude (prediction, version, artifact)
    from foretable.models as models
    left join foretable.active as active
        on models.prediction = active.prediction and models.version = active.version;

    create table if not exists foretable.plans (
        run_id varchar not null,
        prediction varchar not null,
        model varchar not null,
        is_trained boolean not null,
        reason varchar not null,
        serving_version integer,
        train_rows bigint,
        validate_rows bigint,
        test_rows bigint,
        train_as_of timestamp[],
        validate_as_of timestamp[],
        test_as_of timestamp[],
        purged_as_of timestamp[],
        scored_as_of timestamp not null,
        scored_rows bigint not null,
        feature_count integer not null,
        last_train_seconds double
    );
    delete from foretable.plans;

    create table if not exists foretable.metrics (
        prediction varchar not null,
        version integer not null,
        split varchar not null,
        scored_by varchar not null,
        metric varchar not null,
        value double,
        lower double,
        upper double,
        row_count bigint not null
    );

    create table if not exists foretable.cross_validation (
        run_id varchar not null,
        prediction varchar not null,
        definition varchar not null,
        model varchar not null,
        fold integer not null,
        fold_count integer not null,
        train_from timestamp not null,
        train_to timestamp not null,
        validate_as_of timestamp[] not null,
        test_as_of timestamp[] not null,
        train_rows bigint not null,
        scored_by varchar not null,
        metric varchar not null,
        value double,
        lower double,
        upper double,
        row_count bigint not null,
        validated_at timestamp not null
    );

    create table if not exists foretable.feature_selection (
        prediction varchar not null,
        version integer not null,
        step integer not null,
        method varchar not null,
        feature varchar not null,
        score double not null,
        is_kept boolean not null,
        reason varchar not null
    );

    create table if not exists foretable.interactions (
        prediction varchar not null,
        version integer not null,
        feature varchar not null,
        other varchar not null,
        gain double
    );

    create table if not exists foretable.trials (
        prediction varchar not null,
        definition varchar not null,
        rows_hash varchar not null,
        trial integer not null,
        params json not null,
        metric varchar not null,
        value double,
        state varchar not null,
        losses double[] not null,
        seconds double not null,
        ended_at timestamp not null
    );

    create table if not exists foretable.importances (
        prediction varchar not null,
        version integer not null,
        method varchar not null,
        feature varchar not null,
        importance double not null
    );
    {{ foretable.move_state() }}

    create table if not exists foretable.deciles (
        prediction varchar not null,
        version integer not null,
        split varchar not null,
        decile integer not null,
        row_count double not null,
        positive_count double not null,
        mean_score double,
        event_rate double,
        lift double,
        gain double
    );

    create table if not exists foretable.curves (
        prediction varchar not null,
        version integer not null,
        split varchar not null,
        curve varchar not null,
        x double not null,
        y double not null,
        row_count bigint not null
    );

    create table if not exists foretable.confusion (
        prediction varchar not null,
        version integer not null,
        split varchar not null,
        threshold double not null,
        true_positive bigint not null,
        false_positive bigint not null,
        true_negative bigint not null,
        false_negative bigint not null,
        is_chosen boolean not null
    );
    {%- set older = "select 1 from duckdb_columns() where database_name = current_database() "
        ~ "and schema_name = 'foretable' and table_name = 'confusion' and column_name = 'is_best_f1'" %}
    {%- if execute and run_query(older).rows %}
    alter table foretable.confusion rename column is_best_f1 to is_chosen;
    {%- endif %}

    create table if not exists foretable.cost_curve (
        prediction varchar not null,
        version integer not null,
        split varchar not null,
        threshold double not null,
        false_positive bigint not null,
        false_negative bigint not null,
        cost double not null,
        cost_per_row double not null
    );

    create table if not exists foretable.slices (
        prediction varchar not null,
        version integer not null,
        split varchar not null,
        column_name varchar not null,
        value varchar not null,
        row_count bigint not null,
        event_rate double,
        mean_score double,
        roc_auc double
    );
    {%- for column, type in {'metric': 'varchar', 'metric_value': 'double'}.items() %}
    alter table foretable.slices add column if not exists {{ column }} {{ type }};
    {%- endfor %}

    create table if not exists foretable.prediction_log (
        run_id varchar not null,
        prediction varchar not null,
        version integer not null,
        entity varchar not null,
        entity_id varchar not null,
        score float,
        as_of timestamp not null,
        scored_at timestamp not null
    );
    {%- for column, type in {
        'raw_score': 'float', 'is_shadow': 'boolean default false', 'item_id': 'varchar'
    }.items() %}
    alter table foretable.prediction_log add column if not exists {{ column }} {{ type }};
    {%- endfor %}

    create table if not exists foretable.drift (
        prediction varchar not null,
        version integer not null,
        as_of timestamp not null,
        feature varchar not null,
        psi double not null,
        ks double,
        missing_share_then double not null,
        missing_share_now double not null,
        unknown_share double,
        measured_at timestamp not null
    );

    create table if not exists foretable.outcomes (
        prediction varchar not null,
        entity_id varchar not null,
        label double not null,
        as_of timestamp not null,
        known_at timestamp not null
    );
    {%- for column, type in {'item_id': 'varchar'}.items() %}
    alter table foretable.outcomes add column if not exists {{ column }} {{ type }};
    {%- endfor %}

    create table if not exists foretable.realised (
        prediction varchar not null,
        version integer not null,
        as_of timestamp not null,
        metric varchar not null,
        value double,
        row_count bigint not null,
        realised_at timestamp not null
    );

    create or replace view foretable.decay as
    select
        realised.prediction,
        realised.version,
        realised.metric,
        metrics.value as test_value,
        realised.value as realised_value,
        metrics.value - realised.value as value_lost,
        realised.as_of,
        realised.realised_at
    from foretable.realised as realised
    left join foretable.models as models
        on realised.prediction = models.prediction and realised.version = models.version
    inner join foretable.metrics as metrics
        on
            realised.prediction = metrics.prediction
            and realised.version = metrics.version
            and realised.metric = metrics.metric
    where
        realised.metric = coalesce(models.deciding_metric, 'roc_auc') and metrics.split = 'test'
        and metrics.scored_by = 'model' and not isnan(realised.value);

    create table if not exists foretable.runs (
        run_id varchar not null,
        prediction varchar not null,
        version integer not null,
        source varchar not null,
        reason varchar not null,
        scored_hash varchar not null,
        row_count bigint not null,
        seconds double not null,
        is_trained boolean not null,
        is_scored boolean not null,
        as_of timestamp,
        ended_at timestamp not null
    );
    {%- for column, type in {'reasons': 'integer'}.items() %}
    alter table foretable.runs add column if not exists {{ column }} {{ type }};
    {%- endfor %}
{% endmacro %}
