"""Features that tell the label by themselves, and so most likely read what happened after as_of."""

from dataclasses import replace

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import Examples, ExamplesError, Feature
from ibis_features.examples import LABEL
from models_ml.association import mutual_information, rank_correlations, value_codes
from models_ml.bootstrap import NUMBERS_AT_ONCE
from models_ml.class_rows import true_rows, without_class
from models_ml.evaluation import FORMULAS, roc_auc
from models_ml.kinds import BINARY, Binary, Kind, Multiclass, Ranking

LEAK_AUC = 0.9999
LEAK_CATEGORIES = 50
LEAK_CORRELATION = 0.999
LEAK_ROWS = 50_000
LEAK_SHARE = 0.99
LEAK_ROWS_A_VALUE = 20


def leak_suspects(train: Examples, threshold: float = LEAK_AUC) -> list[tuple[str, float]]:
    """Features that tell the label all but exactly on these labelled rows, with their AUC (at least `threshold`).

    Numbers and booleans count in either direction, with missing values as the lowest or the highest; categories of
    at most 50 values by the event rate of each value.
    """
    features = train.schema.static
    aucs: dict[str, float] = {}
    numbers = [feature for feature in features if feature.role == "number"]
    width = max(1, NUMBERS_AT_ONCE * 4 // max(1, train.rows()))
    for start in range(0, len(numbers), width):
        some = tuple(numbers[start : start + width])
        batches = list(Examples(train.table, replace(train.schema, features=some)).batches())
        labels = np.concatenate([batch.column(LABEL).to_numpy(zero_copy_only=False) for batch in batches])
        for feature in some:
            columns = [batch.column(feature.name).to_numpy(zero_copy_only=False) for batch in batches]
            aucs[feature.name] = _widest_auc(labels, np.concatenate(columns))
    for feature in features:
        if feature.role == "category":
            aucs[feature.name] = _category_auc(train, feature.name)
    return [(feature.name, aucs[feature.name]) for feature in features if aucs.get(feature.name, 0.0) >= threshold]


def number_suspects(train: Examples, threshold: float = LEAK_CORRELATION) -> list[tuple[str, float]]:
    """Features that order the rows all but exactly as a label that is a number does, with their rank correlation.

    A missing value counts as the middle rank; categories are not looked at. The rows are a sample.
    """
    numbers = [feature for feature in train.schema.static if feature.role == "number"]
    if not numbers:
        return []
    rows = Examples(train.table, replace(train.schema, features=tuple(numbers))).sample(LEAK_ROWS)
    table = pa.Table.from_batches(list(rows.batches()))
    columns = [table[name].to_numpy() for name in (LABEL, *(feature.name for feature in numbers))]
    correlations = np.abs(rank_correlations(np.stack(columns, axis=1)))[0, 1:]
    return [(f.name, float(size)) for f, size in zip(numbers, correlations, strict=True) if size >= threshold]


def class_suspects(train: Examples, threshold: float = LEAK_SHARE) -> list[tuple[str, float]]:
    """Features whose values tell the class of these lists all but exactly, with the share of its entropy they tell.

    Numbers count by value where they have at most LEAK_CATEGORIES, else in ten bins; categories by value. Values that
    have few rows each would tell any class. The rows are a sample.
    """
    own = true_rows(train)
    features = tuple(f for f in without_class(own.schema).static if f.role in ("number", "category"))
    item = Feature(own.schema.item or "", "category", "VARCHAR")
    rows = Examples(own.table, replace(own.schema, features=(*features, item))).sample(LEAK_ROWS)
    table = pa.Table.from_batches(list(rows.batches())).combine_chunks()
    labels = table[item.name].combine_chunks().dictionary_encode().indices.to_numpy()
    entropy = mutual_information(labels, labels)
    found = []
    for feature in features:
        column = table[feature.name].combine_chunks()
        if len(pc.unique(column)) <= LEAK_CATEGORIES:
            codes = column.dictionary_encode(null_encoding="encode").indices.to_numpy()
        else:
            codes = value_codes(column)
        if len(codes) >= LEAK_ROWS_A_VALUE * len(np.unique(codes)):
            found.append((feature.name, mutual_information(codes, labels) / entropy))
    return [(name, share) for name, share in found if share >= threshold]


def refuse_leaks(train: Examples, kind: Kind = BINARY) -> None:
    """Raises ExamplesError where a feature tells the label by itself on these labelled rows."""
    if isinstance(kind, Ranking):
        train = _relevant_or_not(train)
    if isinstance(kind, Multiclass):
        suspects, measure = class_suspects(train), "share of what there is to know"
    elif isinstance(kind, Binary | Ranking):
        suspects, measure = leak_suspects(train), "AUC"
    else:
        suspects, measure = number_suspects(train), "rank correlation"
    if suspects:
        found = ", ".join(f"'{feature}' ({measure} {size:.4f})" for feature, size in suspects)
        raise ExamplesError(
            f"a feature tells the label by itself on the training rows: {found}. It most likely reads what happened "
            "after as_of; leave it out with exclude, or set leak_check=false if it is right"
        )


def _relevant_or_not(train: Examples) -> Examples:
    """The rows with a label that says whether an item is relevant at all."""
    label = train.schema.label
    return Examples(train.table.mutate(**{label: train.table[label].cast("float64") > 0}), train.schema)


def telling_columns(table: pa.Table, labels: np.ndarray, threshold: float) -> list[tuple[str, float]]:
    """The columns of a table in memory whose AUC is at least `threshold`, by the measure of `leak_suspects`."""
    aucs = [
        (name, _values_auc(column.combine_chunks(), labels))
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return [(name, auc) for name, auc in aucs if auc >= threshold]


def _widest_auc(labels: np.ndarray, values: np.ndarray) -> float:
    """The AUC further from a half, with missing values lowest or highest; 0 where labels are all the same."""
    missing = np.isnan(values)
    aucs = [roc_auc(labels, np.where(missing, end, values)) for end in ((-np.inf, np.inf) if missing.any() else (0.0,))]
    return float(np.nan_to_num(max(max(auc, 1 - auc) for auc in aucs)))


def _category_auc(train: Examples, name: str) -> float:
    """The AUC of each value's event rate, NULL being a value; 0 where there are more than LEAK_CATEGORIES."""
    table = train.table.select(
        value=train.table[name].cast("string"), label=train.table[train.schema.label].cast("int8")
    )
    counted = table.group_by("value").aggregate(rows=ibis._.count(), positive=ibis._.label.sum())
    counts = counted.limit(LEAK_CATEGORIES + 2).to_pyarrow()
    return _rates_auc(counts["positive"].to_numpy().astype(np.float64), counts["rows"].to_numpy().astype(np.float64))


def _values_auc(column: pa.Array, labels: np.ndarray) -> float:
    """The AUC of a column of float32, or of a text's values by their event rates."""
    if not pa.types.is_string(column.type):
        return _widest_auc(labels, column.to_numpy(zero_copy_only=False))
    codes = column.dictionary_encode(null_encoding="encode").indices.to_numpy()
    return _rates_auc(np.bincount(codes, labels), np.bincount(codes).astype(np.float64))


def _rates_auc(positive: np.ndarray, rows: np.ndarray) -> float:
    """The AUC of the event rate of each value; 0 where there are more than LEAK_CATEGORIES beside NULL."""
    if len(rows) > LEAK_CATEGORIES + 1:
        return 0.0
    order = np.argsort(-positive / rows, kind="stable")
    auc = FORMULAS["roc_auc"](order, positive[order][None], (rows - positive)[order][None])[0]
    return float(np.nan_to_num(auc))
