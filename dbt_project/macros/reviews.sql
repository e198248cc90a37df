{#
    The columns that a mapping may give beside those of the contract: when a review was changed and when it was loaded, and
    the reason why a line could not be read.
#}
{% macro review_extras() %}
    {{- return(['updated_at', 'loaded_at', 'rejection_reason', 'raw_text']) -}}
{% endmacro %}


{# From when on this version of a review may be seen. #}
{% macro review_known_at() -%}
    greatest(created_at, updated_at, loaded_at)
{%- endmacro %}


{#
    The sentiment of a text, from -1 to 1, by the function that the plugin brings.

    column: the text. The result is a double in steps of 0.0001.
#}
{% macro sentiment_of(column) -%}
    {%- if execute and not run_query(
        "select 1 from duckdb_functions() where function_name = 'foretable_sentiment' limit 1"
    ).rows -%}
        {{ exceptions.raise_compiler_error(
            "the sentiment of reviews needs the plugin; add it to the target in profiles.yml: "
            ~ "plugins: [{module: udfs.plugin, alias: foretable}]"
        ) }}
    {%- endif -%}
    foretable_sentiment({{ column }})
{%- endmacro %}


{# The rules of the setting review_duplicate_rules, each a known one. #}
{% macro review_rules() %}
    {%- set known = ['review_id', 'content', 'near'] -%}
    {%- for rule in foretable.setting('review_duplicate_rules') if rule not in known -%}
        {{ exceptions.raise_compiler_error(
            "review_duplicate_rules holds '" ~ rule ~ "'; known: " ~ (known | join(', '))
        ) }}
    {%- endfor -%}
    {{- return(foretable.setting('review_duplicate_rules')) -}}
{% endmacro %}


{# The windows of what users say, in days before as_of: few review or search often. #}
{% macro voice_windows() %}
    {{- return([30, 90, 180]) -}}
{% endmacro %}
