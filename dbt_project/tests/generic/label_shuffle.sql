{#
    With shuffled labels a prediction predicts nothing: trained on them, its AUC on the test snapshots is that of a coin.
    Labels change places within their as_of, by a hash, before the prediction's SELECT is run: a feature that is made of
    the label, its own or its group's, follows them and is found. Trains for real; needs the plugin.

    model       a prediction, whose SELECT reads the label from a label model. A SELECT that computes the label itself has
                the labels of its rows shuffled, which sees less
    rows        about how many examples are taken, by whole entities
    params      params of the trainer over the prediction's, to train quicker
#}
{% test label_shuffle(model, rows=20000, params={}) %}
{%- if not execute or flags.WHICH in ['compile', 'generate'] -%}
{{ return("select 'run it by dbt test' as fault") }}
{%- endif -%}
{%- set node = foretable.tested_node(model) -%}
{%- if node.config.materialized != 'prediction' -%}
    {{ exceptions.raise_compiler_error("label_shuffle: " ~ node.name ~ " is no prediction") }}
{%- endif -%}
{%- set spec = foretable.prediction_config(node) -%}
{%- set labels = namespace(relation=none) -%}
{%- for parent_id in node.depends_on.nodes -%}
    {%- set parent = graph.nodes.get(parent_id) -%}
    {%- if parent is not none and parent.resource_type == 'model' and parent.config.materialized not in ['ephemeral', 'live'] -%}
        {%- set columns = foretable.columns_of_relation(parent.relation_name) -%}
        {%- if [spec['label'], spec['entity'], spec.get('as_of', 'as_of')] | map('tojson') | reject('in', columns) | list == [] -%}
            {%- set labels.relation = foretable.relation_of(parent) -%}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
{%- set request = {
    'sql': foretable.kept_sql([node])[node.name], 'config': spec, 'labels': labels.relation, 'rows': rows, 'params': params,
    'unversioned': [] if spec.get('include_unversioned') else foretable.unversioned_columns(node),
} -%}
select '{{ node.name }}: ' || fault as fault
from (
    select unnest(foretable_label_shuffle('{{ tojson(request) | replace("'", "''") }}')) as fault
)
{% endtest %}
