{#
    The newest rows that the serving version has scored look like those that it was trained on, and their scores like those of
    its test. On a prediction, after it was scored; on monitoring__drift, of all predictions as the last builds left them. A
    row is a feature that has drifted, with how far.

    psi, missing, unknown   bounds over those of the setting drift_bounds
    features                look at these alone; `score` is the score
    exclude                 leave these out
    prediction              on monitoring__drift: look at this one alone
#}
{% test no_drift(model, psi=none, missing=none, unknown=none, features=none, exclude=[], prediction=none) %}
{{ config(severity='warn') }}
{%- set bounds = foretable.drift_bounds({'psi': psi, 'missing': missing, 'unknown': unknown}) %}
with newest as (
    {{ foretable.newest_of_serving('drift', model, prediction) }}
),

drifted as (
    select
        prediction,
        version,
        feature,
        psi,
        missing_share_then,
        missing_share_now,
        unknown_share,
        as_of,
        {{ foretable.drift_fault('newest', bounds) }} as fault
    from newest
    where
        not list_contains({{ foretable.text_list(exclude) }}::varchar[], feature)
        {%- if features is not none %}
        and list_contains({{ foretable.text_list(features) }}::varchar[], feature)
        {%- endif %}
)

select * replace (
    prediction || ' of ' || strftime(as_of, '%Y-%m-%d') || ': ' || feature || ' has drifted: ' || fault as fault
)
from drifted
where fault <> ''
order by prediction, psi desc, feature
{% endtest %}
