{#
    Writes what the dbt manifest says of the feature and sequence tables, and of all that stands above them, into
    foretable.manifest: a copied warehouse file then still says what it holds. `foretable features` and `ibis_features`
    read it, and `foretable publish` what of each node is personal or published. One row a node: part (nodes, sources or
    groups of the manifest), unique_id, node (JSON).
#}
{% macro record_manifest() %}
    {%- if not execute -%}{{- return('') -}}{%- endif -%}
    {%- set rows = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type in ['model', 'seed', 'snapshot'] -%}
        {%- set kept = {
            'name': node.name,
            'alias': node.alias,
            'resource_type': node.resource_type,
            'depends_on': {'nodes': node.depends_on.get('nodes', [])},
        } -%}
        {%- do kept.update(foretable.said_of_publishing(node)) -%}
        {%- if node.name.startswith('features__') or node.name.startswith('sequences__') -%}
            {%- set columns = {} -%}
            {%- for name, column in node.columns.items() -%}
                {%- do columns.update({name: {
                    'description': column.description,
                    'meta': column.meta,
                    'config': {'meta': foretable.meta_of_column(column)},
                }}) -%}
            {%- endfor -%}
            {%- do kept.update({
                'description': node.description,
                'columns': columns,
                'checksum': {'checksum': node.checksum.checksum},
                'version': node.version,
                'group': node.config.group,
                'config': {'meta': node.config.meta},
            }) -%}
        {%- endif -%}
        {%- do rows.append(['nodes', node.unique_id, kept]) -%}
    {%- endfor -%}
    {%- for source in graph.sources.values() -%}
        {%- set kept = {'name': source.name, 'resource_type': 'source'} -%}
        {%- do kept.update(foretable.said_of_publishing(source)) -%}
        {%- do rows.append(['sources', source.unique_id, kept]) -%}
    {%- endfor -%}
    {%- for group in graph.groups.values() -%}
        {%- do rows.append(['groups', group.unique_id, {
            'name': group.name, 'owner': {'name': group.owner.name, 'email': group.owner.email}
        }]) -%}
    {%- endfor -%}
    {%- set literals = [] -%}
    {%- for part, unique_id, node in rows -%}
        {%- do literals.append(
            "('" ~ part ~ "', '" ~ unique_id ~ "', '" ~ (tojson(node) | replace("'", "''")) ~ "')"
        ) -%}
    {%- endfor -%}
    create or replace table foretable.manifest (part varchar not null, unique_id varchar primary key, node json not null);
    insert into foretable.manifest values {{ literals | join(', ') }}
{% endmacro %}


{#
    What a node or source says about being published: `publish`, of its meta, where it says so, and `personal`, which
    columns tell of a person (true) or do not although those of the same name above do (false).
#}
{% macro said_of_publishing(node) %}
    {%- set said = {} -%}
    {%- set meta = dict(node.get('meta') or {}, **((node.config.get('meta') or {}))) -%}
    {%- if 'publish' in meta -%}
        {%- do said.update({'publish': meta['publish']}) -%}
    {%- endif -%}
    {%- set personal = {} -%}
    {%- for name in var('personal', []) -%}
        {%- do personal.update({name: true}) -%}
    {%- endfor -%}
    {%- for name, column in node.columns.items() -%}
        {%- set of_column = dict(column.get('meta') or {}, **((column.get('config') or {}).get('meta') or {})) -%}
        {%- set tags = (column.get('tags') or []) + ((column.get('config') or {}).get('tags') or []) -%}
        {%- if 'personal' in of_column -%}
            {%- do personal.update({name: of_column['personal']}) -%}
        {%- elif 'personal' in tags -%}
            {%- do personal.update({name: true}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- do said.update({'personal': personal}) -%}
    {{- return(said) -}}
{% endmacro %}
