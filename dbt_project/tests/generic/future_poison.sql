{#
    Absurd rows that become known at a cut or after it change no row of an as_of up to the cut. The model and all models
    between it and the staging tables are computed twice, by their own SQL: over the log as it is, and over the log with the
    poison. One row a column and as_of that moves.

    It fails, too, where the poison changes no row after the cut either: then nothing was tried.

    model           a table of one row an entity and as_of, on foretable's staging tables at any distance. Between them,
                    models keep their SQL by the post-hook foretable.keep_sql()
    keys            the columns that tell the rows of one as_of apart
    as_of           the column of the cut-off instant
    cut             an instant; none: the newest snapshot but one
    snapshots       how many snapshots up to the cut are compared; none: all
    rows            how many events are added, about
    read_as_built   models above it that the poison does not go through: what is fitted on training rows moves where these
                    reach beyond the cut, and has the test fitted_on_training_rows
#}
{% test future_poison(
    model, keys, as_of='as_of', cut=none, snapshots=2, rows=3000,
    read_as_built=['fitted__statistics', 'fitted__neighbours', 'attributes__history']
) %}
{%- if not execute or flags.WHICH in ['compile', 'generate'] -%}
{{ return("select 'run it by dbt test' as fault") }}
{%- endif -%}
{%- set node = foretable.tested_node(model) -%}
{%- set chain = foretable.chain_of_models(foretable.staging_names(), node, read_as_built + ['int_snapshots__grid']) -%}
{%- if node.unique_id not in chain | map(attribute='unique_id') -%}
    {{ exceptions.raise_compiler_error(
        "future_poison: " ~ node.name ~ " reads none of foretable's staging tables ("
        ~ (foretable.staging_names() | join(', ')) ~ "), and so no log that could be poisoned"
    ) }}
{%- endif -%}
{%- set kept = foretable.kept_sql(chain) -%}
{%- set grid = foretable.instants('select as_of from ' ~ foretable.grid()) -%}
{%- set cut = "timestamp '" ~ cut ~ "'" if cut else (grid[-2] if grid | length > 1) -%}
{%- set compared, later = [], [] -%}
{%- for instant in grid -%}
    {%- do (compared if cut and foretable.is_up_to(instant, cut) else later).append(instant) -%}
{%- endfor -%}
{%- if not compared or not later -%}
    {{ exceptions.raise_compiler_error(
        "future_poison: a snapshot has to lie on either side of the cut (" ~ cut ~ "); there are " ~ (grid | length)
        ~ ", from " ~ (grid | first) ~ " to " ~ (grid | last)
    ) }}
{%- endif -%}
{%- set instants = (compared[-snapshots:] + later[-1:]) if snapshots else none -%}
{%- set columns = foretable.columns_of_relation(model) | reject('in', (keys + [as_of]) | map('tojson')) | list -%}
with {{ foretable.chain_ctes(chain, 'clean', kept, {}, instants) }},

{{ foretable.chain_ctes(chain, 'poisoned', kept, foretable.poisons(cut, later[-1], rows), instants) }},

before as (
    select
        *,
        true as is_there
    from clean__{{ node.name }}
    where {{ as_of }} <= {{ cut }}
),

after as (
    select
        *,
        true as is_there
    from poisoned__{{ node.name }}
    where {{ as_of }} <= {{ cut }}
),

compared as (
    select
        {%- for column in columns %}
        count(*) filter (
            where before.is_there and after.is_there and before.{{ column }} is distinct from after.{{ column }}
        ) as {{ column }},
        {%- endfor %}
        count(*) filter (where before.is_there is null) as "a row that came",
        count(*) filter (where after.is_there is null) as "a row that went",
        coalesce(before.{{ as_of }}, after.{{ as_of }}) as foretable__as_of
    from before
    full join after
        on {{ foretable.is_same('before', 'after', keys + [as_of]) }}
    group by foretable__as_of
),

moved as (
    unpivot compared on * exclude (foretable__as_of) into name column_name value row_count
),

changed_later as (
    select * from poisoned__{{ node.name }}
    where {{ as_of }} > {{ cut }}
    except
    select * from clean__{{ node.name }}
    where {{ as_of }} > {{ cut }}
),

-- Rows that are there without the poison, too: a new entity alone shows nothing of how rows are computed.
later as (
    select changed_later.*
    from changed_later
    semi join clean__{{ node.name }} as clean
        on {{ foretable.is_same('changed_later', 'clean', keys + [as_of]) }}
),

faults as (
    select
        '{{ node.name }}: ' || column_name || ' knows at ' || foretable__as_of || ' what came after '
        || {{ cut }} || ', in ' || row_count || ' rows' as fault,
        column_name,
        row_count,
        foretable__as_of as as_of
    from moved
    where row_count > 0
    {%- if as_of == 'as_of' %}
    union all
    select
        '{{ node.name }}: nothing was tried, the poison after ' || {{ cut }} || ' reaches no later row either' as fault,
        null as column_name,
        0 as row_count,
        {{ cut }} as as_of
    where not exists (select 1 from later)
    {%- endif %}
)

select * from faults
order by as_of, column_name
{% endtest %}
