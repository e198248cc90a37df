{#
    The serving version has not become worse: its AUC (where labels are numbers its deciding metric) on the newest snapshot
    whose outcomes are known is no more than `auc` below that of its test. On a prediction, or on monitoring__realised for
    all of them. One row a prediction that has decayed.

    auc             the most that may be lost
    prediction      on monitoring__realised: look at this one alone
#}
{% test no_decay(model, auc=0.05, prediction=none) %}
{{ config(severity='warn') }}
with newest as (
    {{ foretable.newest_of_serving('decay', model, prediction) }}
)

select
    *,
    prediction || ' of ' || strftime(as_of, '%Y-%m-%d') || ': the ' || if(metric = 'roc_auc', 'AUC', metric)
    || ' has decayed: ' || round(realised_value, 3) || ', in the test ' || round(test_value, 3) as fault
from newest
where value_lost > {{ auc }}
order by prediction
{% endtest %}
