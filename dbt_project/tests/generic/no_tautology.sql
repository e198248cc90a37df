{#
    No feature is the label, its negation, or tells it by itself. On a prediction: its examples. On a feature model: its
    rows beside their labels. It is the check of a training, with a threshold of its own; it needs the plugin. One row
    a feature.

    labels, label, keys     of a feature model: the label model, its column, and the columns that tell the rows of one as_of
                            apart in both
    threshold               the AUC of a single column from which on it counts as telling the label
    exclude                 columns that no model is to read
    rows                    about how many labelled rows are looked at, by whole entities
#}
{% test no_tautology(model, labels=none, label=none, keys=none, threshold=0.999, exclude=[], rows=20000) %}
{%- if not execute or flags.WHICH in ['compile', 'generate'] -%}
{{ return("select 'run it by dbt test' as fault") }}
{%- endif -%}
{%- set node = foretable.tested_node(model) -%}
{%- if node.config.materialized == 'prediction' -%}
    {%- set spec = foretable.prediction_config(node) -%}
    {%- set request = {
        'relation': foretable.examples_of(node) | string, 'entity': spec['entity'], 'label': spec['label'],
        'as_of': spec.get('as_of', 'as_of'), 'exclude': (spec.get('exclude') or []) + exclude, 'threshold': threshold,
        'rows': rows,
    } -%}
{%- elif labels is none or label is none or not keys -%}
    {{ exceptions.raise_compiler_error(
        "no_tautology: " ~ node.name ~ " is no prediction; say which labels belong to it: "
        ~ "arguments: {labels: ref('labels__purchase_30d'), label: purchased_30d, keys: [user_id]}"
    ) }}
{%- else -%}
    {%- set request = {
        'relation': '(select features.*, labels.' ~ label ~ ' from ' ~ model ~ ' as features inner join ' ~ labels
            ~ ' as labels on ' ~ foretable.is_same('features', 'labels', keys + ['as_of']) ~ ') as examples',
        'entity': keys[0], 'label': label, 'as_of': 'as_of', 'exclude': keys[1:] + exclude, 'threshold': threshold,
        'rows': rows,
    } -%}
{%- endif -%}
select '{{ node.name }}: ' || fault as fault
from (
    select unnest(foretable_tautologies('{{ tojson(request) | replace("'", "''") }}')) as fault
)
{% endtest %}
