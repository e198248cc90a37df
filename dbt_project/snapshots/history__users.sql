{% snapshot history__users %}

{{ config(
    enabled=(setting('keep_history') and 'users' in setting('mapped_tables')), schema='staging',
    unique_key='user_id', strategy='check', updated_at='seen_at', check_cols=kept_columns('users')
) }}

{{ present_rows('users') }}

{% endsnapshot %}
