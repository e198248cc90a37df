{{ config(enabled=(var('source', 'contract') == 'contract')) }}

{{ raw_table('events') }}
