{# The list columns of a row are equally long, and no longer than `longest`. #}
{% test parallel_lists(model, columns, longest) %}
select *
from {{ model }}
where
    {% for column in columns -%}
    len({{ column }}) is distinct from len({{ columns[0] }})
    or {% endfor -%}
    len({{ columns[0] }}) > {{ longest }}
{% endtest %}
