"""Compile trees to SQL: a macro stored in the file that gives the bits that XGBoost gives, without Python.

All nodes of all trees lie in one list, level by level, in a one-row table. A node is
`{slot, threshold, child}`: a row whose value in `slot` is below the threshold goes on to `child - 1`, else to
`child`. A leaf holds its value as threshold, reads a slot that is always -inf, and so leads to itself for ever.
A row walks through all trees at once, one level a step, by nested `list_transform`.

A missing value follows a node's default direction. So each matrix column has two slots: one holds +inf where the
value is missing, for nodes that then go right, the other -inf, for nodes that then go left.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa

from ibis_features import ArtifactError, Examples
from models_ml.encoding import MatrixColumn, empty_batch, matrix
from models_ml.trees import TreesModel
from udfs.scorers import check_names, identifier, literal, readable

SCHEMA = "scores"
PARITY_ROWS = 2_000
PROBES = 1_024
ULPS = 16
"""How far from logit(base_score) the float32 that XGBoost starts its sums from is looked for."""


def compile_sql(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: TreesModel,
    sample: Examples | pa.RecordBatch | pa.Table | None = None,
    *,
    rows: int = PARITY_ROWS,
) -> None:
    """Store the model as `scores.<prediction>(row)`, `(f1, …, fn)` and the table macro `<prediction>_table('name')`.

        select user_id, scores.churn(features) from features__user as features
        select scores.churn(order_count := 3, days_since_order := 12)
        from scores.churn_table('features__user')

    A model of a single feature has the row form only. The macros read `scores.<prediction>__trees` of the database in
    use: attached under another name, say `use` first. All is done in the caller's transaction, or in one of its own.

    Raises ArtifactError, and publishes nothing, where the model cannot be compiled or where the macro differs in any
    bit from the model on rows made for the purpose or on `rows` of `sample`.
    """
    check_names(model.schema)
    compiled = _compile(model)
    with _transaction(con):
        con.execute(f"create schema if not exists {SCHEMA}")
        _create_model_table(con, prediction, compiled)
        _create_macros(con, prediction, model, compiled)
        with _registered(con, pa.Table.from_batches([_probes(model, compiled)])) as probes:
            check_parity(con, prediction, model, probes, rows=PROBES)
            if len(model.schema.features) > 1:
                check_parity(con, prediction, model, probes, rows=PROBES, by_columns=True)
        if isinstance(sample, Examples):
            check_parity(con, prediction, model, f"({ibis.to_sql(sample.table, dialect='duckdb')})", rows=rows)
        elif sample is not None:
            table = sample if isinstance(sample, pa.Table) else pa.Table.from_batches([sample])
            with _registered(con, table) as relation:
                check_parity(con, prediction, model, relation, rows=rows)


def drop_sql(con: duckdb.DuckDBPyConnection, prediction: str) -> None:
    """Drop what `compile_sql` made, if it is there."""
    con.execute(f"drop macro if exists {_qualified(prediction)}")
    con.execute(f"drop macro table if exists {_qualified(f'{prediction}_table')}")
    con.execute(f"drop table if exists {_qualified(f'{prediction}__trees')}")


def check_parity(
    con: duckdb.DuckDBPyConnection,
    prediction: str,
    model: TreesModel,
    relation: str,
    *,
    rows: int = PARITY_ROWS,
    by_columns: bool = False,
) -> int:
    """Compare the stored macro with the model, bit by bit, on a sample of `relation` (a quoted SQL name or a SELECT in
    brackets) that has the features in whatever types; return the number of rows compared.

    Raises ArtifactError where any score differs.
    """
    features = model.schema.features
    names = ", ".join(f"examples.{identifier(feature.name)}" for feature in features)
    casts = [readable(f"examples.{identifier(f.name)}", f) + f" as c{place}" for place, f in enumerate(features)]
    sql = f"""
        select {_qualified(prediction)}({names if by_columns else "examples"}) as score, {", ".join(casts)}
        from (select * from {relation} using sample reservoir({rows:d} rows) repeatable (0)) as examples
    """
    found = con.execute(sql).to_arrow_table()
    if not found.num_rows:
        return 0
    types = empty_batch(model.schema).schema
    arrays = [found.column(place + 1).combine_chunks().cast(kind.type) for place, kind in enumerate(types)]
    expected = model.predict(pa.RecordBatch.from_arrays(arrays, schema=types))
    scores = found.column(0).to_numpy()
    differing = np.flatnonzero(scores.astype(np.float32).view(np.uint32) != expected.view(np.uint32))
    if len(differing):
        place = int(differing[0])
        raise ArtifactError(
            f"refused to publish {SCHEMA}.{prediction}: SQL and model differ on {len(differing):,} of "
            f"{len(scores):,} rows, say {scores[place]!r} and {expected[place]!r}; please report it"
        )
    return len(scores)


@dataclass(frozen=True)
class _Compiled:
    """All trees as arrays over nodes in level order; the first `trees` of them are the roots.

    `columns` are the matrix columns that some node reads, `slots` 1-based places in the row's list of inputs,
    `children` 1-based places of right children.
    """

    columns: np.ndarray
    slots: np.ndarray
    thresholds: np.ndarray
    children: np.ndarray
    trees: int
    depth: int
    base_margin: np.float32

    @property
    def fingerprint(self) -> str:
        state = hashlib.sha256()
        for array in (self.columns, self.slots, self.thresholds, self.children, np.array([self.base_margin])):
            state.update(array.tobytes())
        return state.hexdigest()


def _compile(model: TreesModel) -> _Compiled:
    compiled = _lay_out(_read_trees(model))
    probes = _probes(model, compiled)
    leaves = _leaves(compiled, matrix(probes, model.columns))
    return replace(compiled, base_margin=_base_margin(model, leaves, model.margin(probes)))


def _read_trees(model: TreesModel) -> list[dict[str, Any]]:
    """XGBoost's own JSON: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html"""
    learner = json.loads(model.booster.save_raw("json"))["learner"]
    booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    if booster["name"] != "gbtree" or objective != "binary:logistic":
        raise ArtifactError(
            f"refused to publish: the macro knows gbtree with binary:logistic, not {booster['name']} with {objective}"
        )
    trees = booster["model"]["trees"]
    if not trees or any(any(tree["split_type"]) for tree in trees):
        raise ArtifactError("refused to publish: the macro knows one or more trees, all of numeric splits")
    return trees


def _lay_out(trees: list[dict[str, Any]]) -> _Compiled:
    """Lay out the nodes level by level. Slots: 1 to n default right, n + 1 to 2n default left, 2n + 1 always -inf."""
    order: list[tuple[int, int]] = []
    level = [(tree, 0) for tree in range(len(trees))]
    sides = ("left_children", "right_children")
    depth = -1
    while level:
        order += level
        depth += 1
        inner = [(tree, node) for tree, node in level if trees[tree]["left_children"][node] != -1]
        level = [(tree, trees[tree][side][node]) for tree, node in inner for side in sides]
    place = {key: index for index, key in enumerate(order)}
    inner = [(tree, node) for tree, node in order if trees[tree]["left_children"][node] != -1]
    columns = sorted({trees[tree]["split_indices"][node] for tree, node in inner})
    slot_of = {column: slot for slot, column in enumerate(columns, start=1)}
    slots = np.empty(len(order), np.int32)
    children = np.empty(len(order), np.int32)
    thresholds = np.array([trees[tree]["split_conditions"][node] for tree, node in order], np.float32)
    for index, (tree, node) in enumerate(order):
        left = trees[tree]["left_children"][node]
        if left == -1:
            slots[index], children[index] = 2 * len(columns) + 1, index + 2
        else:
            is_left_default = trees[tree]["default_left"][node]
            slots[index] = slot_of[trees[tree]["split_indices"][node]] + (len(columns) if is_left_default else 0)
            children[index] = place[tree, left] + 2
    if not np.isfinite(thresholds).all():
        raise ArtifactError("refused to publish: a threshold is not finite, and the macro would read it as missing")
    return _Compiled(np.array(columns, np.int64), slots, thresholds, children, len(trees), depth, np.float32(0))


def _leaves(compiled: _Compiled, values: np.ndarray) -> np.ndarray:
    """The walk of the macro in numpy: float32 [rows, trees]."""
    lowest = np.full((len(values), 1), -np.inf, np.float32)
    read = values[:, compiled.columns]
    right, left = (np.where(np.isnan(read), np.float32(fill), read) for fill in (np.inf, -np.inf))
    inputs = np.hstack([right, left, lowest])
    at = np.tile(np.arange(compiled.trees), (len(values), 1))
    for _ in range(compiled.depth):
        is_below = np.take_along_axis(inputs, compiled.slots[at] - 1, axis=1) < compiled.thresholds[at]
        at = compiled.children[at] - 1 - is_below
    return compiled.thresholds[at]


def _base_margin(model: TreesModel, leaves: np.ndarray, expected: np.ndarray) -> np.float32:
    """The float32 that sums start from: XGBoost takes the logit of base_score in float32, as -log(1 / p - 1).

    The same formula in float64 would be far off near p = 0.5, where the subtraction cancels.
    """
    config = json.loads(model.booster.save_config())["learner"]["learner_model_param"]["base_score"]
    base_score = np.float32(config.strip("[]"))
    guess = -np.log(np.float32(1) / base_score - np.float32(1))
    candidates, up, down = [guess], guess, guess
    for _ in range(ULPS):
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(-np.inf))
        candidates += [up, down]
    for candidate in candidates:
        total = np.full(len(leaves), candidate, np.float32)
        for tree in range(leaves.shape[1]):
            total += leaves[:, tree]
        if np.array_equal(total, expected):
            return candidate
    raise ArtifactError(
        f"refused to publish: no float32 within {ULPS} steps of {guess!r} starts the sums of this model; "
        "please report it"
    )


def _probes(model: TreesModel, compiled: _Compiled) -> pa.RecordBatch:
    """Rows that find faults: values on a threshold and next to it, missing ones, infinities, unknown categories."""
    rng = np.random.default_rng(0)
    cuts: dict[int, np.ndarray] = {}
    for slot, column_place in enumerate(compiled.columns.tolist(), start=1):
        is_cut = (compiled.slots == slot) | (compiled.slots == slot + len(compiled.columns))
        cuts[column_place] = compiled.thresholds[is_cut]
    inputs: dict[str, Any] = {feature.name: [None] * PROBES for feature in model.schema.features}
    embeddings = [feature for feature in model.schema.features if feature.role == "embedding"]
    for feature in embeddings:
        inputs[feature.name] = np.full((PROBES, feature.width), np.nan, np.float32)
    for place in compiled.columns.tolist():
        column = model.columns[place]
        if column.role == "category":
            choices = np.array([*column.vocabulary, "not seen in training\0", None], object)
            inputs[column.feature] = rng.choice(choices, PROBES).tolist()
        elif column.role == "embedding":
            inputs[column.feature][:, column.position] = _probe_values(cuts[place], rng)
        else:
            inputs[column.feature] = pa.array(_probe_values(cuts[place], rng), mask=rng.random(PROBES) < 0.1)
    for feature in embeddings:
        inputs[feature.name] = [None, *inputs[feature.name][1:]]
    return pa.RecordBatch.from_pydict(inputs, schema=empty_batch(model.schema).schema)


def _probe_values(cuts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    infinity = np.float32(np.inf)
    around = np.concatenate([cuts, np.nextafter(cuts, infinity), np.nextafter(cuts, -infinity)])
    odd = np.array([0.0, -0.0, 1.0, -1e30, 1e30, np.inf, -np.inf, np.nan, np.nan], np.float32)
    return np.where(rng.random(PROBES) < 0.7, rng.choice(around, PROBES), rng.choice(odd, PROBES))


def _create_model_table(con: duckdb.DuckDBPyConnection, prediction: str, compiled: _Compiled) -> None:
    nodes = pa.StructArray.from_arrays(
        [pa.array(compiled.slots), pa.array(compiled.thresholds), pa.array(compiled.children)],
        ["slot", "threshold", "child"],
    )
    table = pa.table({"nodes": _one_list(nodes), "roots": _one_list(nodes.slice(0, compiled.trees))})
    with _registered(con, table) as relation:
        con.execute(
            f"create or replace table {_qualified(f'{prediction}__trees')} as "
            f"select *, {literal(compiled.fingerprint)} as fingerprint from {relation}"
        )


def _create_macros(con: duckdb.DuckDBPyConnection, prediction: str, model: TreesModel, compiled: _Compiled) -> None:
    features = model.schema.features
    # A macro's parameter replaces any name like it in the body, so the body's own names must not be features.
    own = _Names.beside(model.schema.names)
    from_row = [f"struct_extract({own.row}, {literal(feature.name)})" for feature in features]
    source = f'from (select "row" as {own.row})'
    forms = [f'("row") as {_scalar(prediction, model, compiled, own, expressions=from_row, source=source)}']
    if len(features) > 1:
        names = [identifier(feature.name) for feature in features]
        forms.append(f"({', '.join(names)}) as {_scalar(prediction, model, compiled, own, expressions=names)}")
    con.execute(f"create or replace macro {_qualified(prediction)} {', '.join(forms)}")

    from_table = [f"{own.row}.{identifier(feature.name)}" for feature in features]
    score = _scalar(prediction, model, compiled, own, expressions=from_table)
    con.execute(
        f"create or replace macro {_qualified(f'{prediction}_table')}({own.relation}) as table "
        f"select {own.row}.*, {score} as score from query_table({own.relation}) as {own.row}"
    )


@dataclass(frozen=True)
class _Names:
    """Names of the macro's own, none of which is a feature's."""

    row: str
    columns: str
    inputs: str
    trees: str
    node: str
    total: str
    leaf: str
    relation: str

    @classmethod
    def beside(cls, features: list[str]) -> "_Names":
        taken = {name.casefold() for name in features}
        suffix = ""
        names = ("_row", "_columns", "_inputs", "_trees", "_node", "_total", "_leaf", "_relation")
        while any(name + suffix in taken for name in names):
            suffix += "_"
        return cls(*(name + suffix for name in names))


def _scalar(
    prediction: str,
    model: TreesModel,
    compiled: _Compiled,
    own: _Names,
    *,
    expressions: list[str],
    source: str = "",
) -> str:
    """The score as one scalar subquery. Every input is written once, in a SELECT without tables of the macro's own."""
    columns = ", ".join(
        f"{readable(expression, feature)} as c{place}"
        for place, (expression, feature) in enumerate(zip(expressions, model.schema.features, strict=True))
    )
    places = {name: place for place, name in enumerate(model.schema.names)}
    read = [model.columns[place] for place in compiled.columns]
    values = [_value(f"{own.columns}.c{places[column.feature]}", column) for column in read]
    values_list = ", ".join(f"{value} as v{place}" for place, value in enumerate(values)) or "1"
    slots = [
        f"coalesce({own.inputs}.v{place}, '{fill}'::FLOAT)" for fill in ("inf", "-inf") for place in range(len(values))
    ]
    inputs = ", ".join([*slots, "'-inf'::FLOAT"])
    walk = f"{own.trees}.roots"
    for _ in range(compiled.depth):
        is_below = f"({own.inputs}.slots[{own.node}.slot] < {own.node}.threshold)::INTEGER"
        walk = f"list_transform({walk}, lambda {own.node}: {own.trees}.nodes[{own.node}.child - {is_below}])"
    leaves = f"list_transform({walk}, lambda {own.node}: {own.node}.threshold)"
    start = _float_literal(compiled.base_margin)
    margin = f"list_reduce({leaves}, lambda {own.total}, {own.leaf}: ({own.total} + {own.leaf})::FLOAT, {start})"
    stale = literal(
        f"the macro {SCHEMA}.{prediction} and the table {SCHEMA}.{prediction}__trees are of different versions; "
        "if the macro lies in an attached database, say `use` first"
    )
    return f"""(
        select case when {own.trees}.fingerprint = {literal(compiled.fingerprint)}
            then (1 / (1 + exp(-({margin})::DOUBLE)))::FLOAT else error({stale})::FLOAT end
        from (
            select [{inputs}] as slots
            from (select {values_list} from (select {columns} {source}) as {own.columns}) as {own.inputs}
        ) as {own.inputs}, {_qualified(f"{prediction}__trees")} as {own.trees}
    )"""


def _value(column_sql: str, column: MatrixColumn) -> str:
    """One matrix column as FLOAT, NULL where `models_ml.encoding.matrix` gives NaN."""
    if column.role == "category":
        vocabulary = ", ".join(literal(value) for value in column.vocabulary)
        return f"(list_position([{vocabulary}]::VARCHAR[], {column_sql}) - 1)::FLOAT"
    if column.role == "embedding":
        column_sql = f"{column_sql}[{column.position + 1}]"
    return f"case when isfinite({column_sql}) then {column_sql} end"


def _float_literal(value: np.float32) -> str:
    return f"'{np.format_float_scientific(value, unique=True, trim='-')}'::FLOAT"


def _qualified(name: str) -> str:
    """In the schema of whichever database is in use: a file keeps its macros when it is renamed."""
    return f"{SCHEMA}.{identifier(name)}"


def _one_list(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


@contextmanager
def _registered(con: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterator[str]:
    name = "foretable_compiling"
    con.register(name, table)
    try:
        yield name
    finally:
        with suppress(duckdb.TransactionException):  # the transaction failed; the view goes with it
            con.unregister(name)


@contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """The caller's transaction if one is open, else one of our own. `begin` inside another would abort it."""
    ids = [con.execute("select txid_current()").fetchone() for _ in range(2)]
    if ids[0] == ids[1]:
        yield
        return
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()
