{#
    How many rows of each as_of have a label, as a query: label, horizon_days, row_count, labelled_count, positive_count,
    censored_count, is_censored (the window of the horizon reaches past the end of the log), as_of.

    relation: of a label model. label: its column. horizon_days: length of the label's window. positive: the comparison
    that holds for a positive label: true and amounts are more than 0, days until an event are `'< 30'` within a horizon of 30.
#}
{% macro label_counts(relation, label, horizon_days, positive='> 0') -%}
    select
        '{{ label }}' as label,
        {{ horizon_days }}::integer as horizon_days,
        count(*) as row_count,
        count(labels.{{ label }}) as labelled_count,
        count(*) filter (where labels.{{ label }}::double {{ positive }}) as positive_count,
        count(*) - count(labels.{{ label }}) as censored_count,
        labels.as_of + interval '{{ horizon_days }} days' > max(ends.log_ends_at) as is_censored,
        labels.as_of
    from {{ relation }} as labels
    cross join (
        select max(grid.log_ends_at) as log_ends_at
        from {{ ref('foretable', 'int_snapshots__grid').include(database=false) }} as grid
    ) as ends
    group by labels.as_of
{%- endmacro %}
