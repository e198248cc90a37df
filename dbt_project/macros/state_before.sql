{#
    State that lay elsewhere before: the shares of the gain had a table of their own. It is made here where it is not, so
    that plain SQL moves it: to ask dbt for a relation would open a transaction, and all of the hook would be rolled back.
#}
{% macro move_state() %}
    create table if not exists foretable.feature_importance (
        prediction varchar, version integer, feature varchar, gain_share double
    );
    insert into foretable.importances by name
    select prediction, version, 'gain' as method, feature, gain_share as importance
    from foretable.feature_importance;
    drop table foretable.feature_importance;
{% endmacro %}
