{# The path of a file of the data folder, for a mapping that reads files of its own; a plain error where it is missing. #}
{% macro data_file(name) %}
    {%- set path = foretable.setting('data').rstrip('/') ~ '/' ~ name -%}
    {%- if execute and not run_query("select file from glob('" ~ (path | replace("'", "''")) ~ "')").rows -%}
        {{ exceptions.raise_compiler_error(
            "no file '" ~ path ~ "', which the source '" ~ foretable.setting('source') ~ "' reads; name its folder with "
            ~ "--data FOLDER, FORETABLE_DATA or --vars '{data: FOLDER}'"
        ) }}
    {%- endif -%}
    {{- return("'" ~ (path | replace("'", "''")) ~ "'") -}}
{% endmacro %}
