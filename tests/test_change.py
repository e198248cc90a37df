"""Feedback end to end: on a simulated shop whose behaviour changes, a build after the change trains anew."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from foretable.simulate import simulate
from tests.conftest import DBT_PROJECT, run_dbt

CHANGE_AT = 217  # 2025-08-06
FIRST, UNCHANGED, CHANGED = "2025-07-01", "2025-08-05", "2025-09-16"
"""The days whose midnight ends the log of a build, each the day after one of the weekly grid."""

PREDICTION = """
{{{{ config(
    materialized='prediction', entity='user_id', label='bought_30d', horizon_days=30, kind='binary', model='xgboost',
    params={{'n_estimators': 60, 'max_depth': 3}}, promote='always', retrain={{{policy}}}
) }}}}

with features as (
    select
        snapshots.user_id,
        count(events.row_id) filter (events.occurred_at >= snapshots.as_of - interval 30 days) as event_count_30d,
        count(events.row_id) filter (events.event_type = 'purchase') as purchase_count,
        date_diff('hour', max(events.occurred_at), snapshots.as_of) / 24 as recency_days,
        snapshots.as_of
    from {{{{ ref('int_users__snapshots') }}}} as snapshots
    left join {{{{ ref('int_events__imputed') }}}} as events
        on snapshots.user_id = events.user_id and events.known_at < snapshots.as_of
    group by snapshots.user_id, snapshots.as_of
),

labels as (
    {{{{ foretable.event_within('bought_30d', days=30, event_type='purchase') }}}}
)

select features.user_id, labels.bought_30d, features.* exclude (user_id, as_of), features.as_of
from features
left join labels on features.user_id = labels.user_id and features.as_of = labels.as_of
"""


@dataclass(frozen=True)
class Build:
    """What a build did with a prediction."""

    is_trained: bool
    reason: str


def write_log(shop: Path, data: Path, until: str) -> None:
    """The events that were there at an instant."""
    data.mkdir(exist_ok=True)
    duckdb.execute(
        f"copy (select * from '{shop / 'events.parquet'}' where loaded_at::timestamp < timestamp '{until}') "
        f"to '{data / 'events.parquet'}'"
    )


@pytest.mark.slow
def test_a_build_trains_anew_after_a_change_and_not_before(tmp_path: Path) -> None:
    shop, data, project, warehouse = (tmp_path / name for name in ("shop", "data", "project", "warehouse.duckdb"))
    simulate(shop, users=1000, days=260, seed=5, change_at=CHANGE_AT)
    shutil.copytree(DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    for policy in ("'on_drift': 0.1", "'on_decay': 0.05"):
        name = policy.split("'")[1]
        sql = PREDICTION.format(policy=policy)
        (project / "models" / "predictions" / f"pred__{name}.sql").write_text(sql)
    done: list[dict[str, Build]] = []
    for until in (FIRST, UNCHANGED, CHANGED):
        write_log(shop, data, until)
        run = run_dbt(
            *("build", "--select", "+pred__on_drift", "+pred__on_decay"),
            *("--exclude-resource-type", "test", "unit_test"),
            warehouse=warehouse,
            data=data,
            project=project,
            variables={"history_days": 30, "mapped_tables": ["events"]},
        )
        assert run.code == 0, run.output[-3000:]
        with duckdb.connect(str(warehouse), read_only=True) as con:
            rows = con.execute(
                "select prediction, is_trained, reason from foretable.runs order by rowid desc limit 2"
            ).fetchall()
        done.append({name: Build(is_trained, reason) for name, is_trained, reason in rows})
    first, unchanged, changed = done
    assert first["on_drift"].is_trained
    assert not unchanged["on_drift"].is_trained, unchanged
    assert not unchanged["on_decay"].is_trained, unchanged
    assert "new rows do not train yet: the PSI of the scores is" in unchanged["on_drift"].reason
    assert "new rows do not train yet: the loss of AUC since the test is" in unchanged["on_decay"].reason
    assert changed["on_drift"].is_trained, changed
    assert changed["on_decay"].is_trained, changed
    assert "new rows, and the PSI of the scores is" in changed["on_drift"].reason
    assert "new rows, and the loss of AUC since the test is" in changed["on_decay"].reason
