"""Our as-of join beside Feast's: the same list of entities and moments, the same 20 features, equal in every cell."""

import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from benchmarks.dbt_runs import run_dbt
from benchmarks.pandas_comparison import STAGING, VARIABLES, Shop, one_row
from benchmarks.processes import run

TABLE = "features__user"
FEATURES = 20
FEAST_JOIN = Path(__file__).parent / "feast_join.py"


@dataclass
class Compared:
    """By the number of entity rows: median seconds of each side, and the cells that differ.

    `cpu` holds the same of the seconds of all threads, by side; they suffer less from what else the machine does.
    """

    ours: dict[int, float] = field(default_factory=dict)
    theirs: dict[int, float] = field(default_factory=dict)
    cpu: dict[str, dict[int, float]] = field(default_factory=dict)
    cells: int = 0
    differing: dict[int, int] = field(default_factory=dict)


def compare(shop: Shop, python: Path, *, rows: list[int], repeat: int, seed: int = 7) -> Compared:
    """Join lists of `rows` users and moments with the newest features before them, `repeat` times on each side in turn.

    A process is started for each turn, and each joins every list three times: the median is of all.
    """
    run_dbt(
        *("run", "--select", f"+{TABLE}", "--exclude", STAGING),
        warehouse=shop.warehouse,
        data=shop.log,
        variables=VARIABLES,
    )
    folder = shop.folder / "join"
    for side in ("entities", "ours", "feast"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    entities = {count: folder / "entities" / f"{count}.parquet" for count in rows}
    columns = _written(shop, folder, entities, seed)
    task = {
        "features": str(folder / "features.parquet"),
        "warehouse": str(shop.warehouse),
        "table": TABLE,
        "columns": columns,
        "entities": [str(file) for file in entities.values()],
        "repeat": 3,
    }
    commands = {
        "ours": [sys.executable, "-m", "benchmarks.our_join"],
        "feast": [str(python), str(FEAST_JOIN)],
    }
    laps: dict[str, dict[int, list[tuple[float, float]]]] = {side: {count: [] for count in rows} for side in commands}
    for _ in range(repeat):
        for side, command in commands.items():
            (folder / f"{side}.json").write_text(json.dumps({**task, "out": str(folder / side)}))
            root = {"PYTHONPATH": str(Path(__file__).parent.parent)} if side == "ours" else {}
            ended = run([*command, str(folder / f"{side}.json")], folder=folder, environment=root)
            for size, seconds in ended.figures().items():
                laps[side][int(size)] += seconds
    wall, cpu = (
        {
            side: {count: statistics.median(lap[clock] for lap in its) for count, its in by_count.items()}
            for side, by_count in laps.items()
        }
        for clock in (0, 1)
    )
    compared = Compared(ours=wall["ours"], theirs=wall["feast"], cpu=cpu)
    for count in rows:
        hold_beside(folder, count, columns, compared)
    return compared


def _written(shop: Shop, folder: Path, entities: dict[int, Path], seed: int) -> list[str]:
    """Write the features and the lists of entities as Parquet; the names of the features that are asked for."""
    with duckdb.connect(str(shop.warehouse), read_only=True, config={"threads": 1}) as con:
        columns = [
            name
            for (name,) in con.execute(
                """
                select column_name from information_schema.columns
                where table_name = ? and data_type in ('INTEGER', 'DOUBLE')
                order by md5(column_name)
                limit ?
                """,
                [TABLE, FEATURES],
            ).fetchall()
        ]
        wanted = ", ".join(columns)
        con.execute(
            f"copy (select user_id, timezone('UTC', as_of) as as_of, {wanted} from {TABLE}) "
            f"to '{folder}/features.parquet' (format parquet)"
        )
        con.execute(f"select setseed({seed / 100})")
        for count, file in entities.items():
            # Each row a user of its own draw and an instant between the first snapshot and a week after the last.
            con.execute(
                f"""
                copy (
                    with users as (
                        select user_id, row_number() over (order by user_id) - 1 as place
                        from (select distinct user_id from {TABLE})
                    ),
                    span as (
                        select min(as_of) as first, max(as_of) - min(as_of) + interval 7 days as width from {TABLE}
                    ),
                    drawn as (
                        select
                            floor(random() * (select count(*) from users))::bigint as place,
                            random() as share
                        from range({count})
                    )
                    select
                        users.user_id,
                        make_timestamp(
                            epoch_us(span.first)
                            + (drawn.share * (epoch_us(span.first + span.width) - epoch_us(span.first)))::bigint
                        ) as moment
                    from drawn
                    inner join users using (place)
                    cross join span
                ) to '{file}' (format parquet)
                """
            )
    return columns


def hold_beside(folder: Path, count: int, columns: list[str], compared: Compared) -> None:
    """Count the cells in which the two answers differ."""
    with duckdb.connect(config={"threads": 2}) as con:
        con.execute("set timezone = 'UTC'")
        differing = " + ".join(f"(ours.{name} is distinct from theirs.{name})::integer" for name in columns)
        rows, cells = one_row(
            con,
            f"""
            select count(*), sum({differing})
            from read_parquet('{folder}/ours/{count}.parquet') as ours
            inner join read_parquet('{folder}/feast/{count}.parquet') as theirs
                on ours.user_id = theirs.user_id and ours.moment = theirs.event_timestamp::timestamp
            """,
        )
    if rows != count:
        raise SystemExit(f"of {count} entity rows, {rows} are in both answers")
    compared.cells += rows * len(columns)
    compared.differing[count] = int(cells)
