{% snapshot history__items %}

{{ config(
    enabled=(setting('keep_history') and 'items' in setting('mapped_tables')), schema='staging',
    unique_key='item_id', strategy='check', updated_at='seen_at', check_cols=kept_columns('items')
) }}

{{ present_rows('items') }}

{% endsnapshot %}
