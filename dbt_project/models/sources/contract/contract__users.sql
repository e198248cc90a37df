{{ config(enabled=(var('source', 'contract') == 'contract')) }}

-- Nothing is read of a folder whose events cannot be read: depends_on: {{ ref('contract__events') }}
{{ raw_table('users') }}
