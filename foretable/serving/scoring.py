"""Scores from one DuckDB file as it was when it was opened: looked up for an entity, computed for a row."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from foretable.project import TAKEN_NAMES
from foretable.query import json_value
from foretable.sentences import plain_exception
from foretable.serving.offers import Offer, read_offers
from ibis_features.errors import ExamplesError, NotFoundError
from ibis_features.reader import open_reader
from ibis_features.tables import quoted
from udfs.compiling.scope import Names
from udfs.quoting import literal

Row = dict[str, Any]
_TAKEN = {*TAKEN_NAMES, "memory", "temp", "system"}


class ScoringFile:
    """Answers from an open file, one at a time, on one thread of DuckDB. What it returns is ready for JSON.

    DuckDB gives a process that opens a path twice the file that it has open already, also where another file has taken
    its place. So the file is attached to a database in memory, which nobody shares.
    """

    def __init__(self, path: Path) -> None:
        """Raises NotFoundError where there is no file, and what DuckDB raises where it is none of its own."""
        if not path.is_file():
            raise NotFoundError(f"no file at {path}; build a warehouse with `foretable build`, or publish one")
        open_reader(path).close()  # what a killed build has left beside the file is taken into it
        self._lock = threading.RLock()
        self._plans: set[int] = set()
        self._versions: dict[str, int | None] = {}
        self._con = duckdb.connect(":memory:", config={"threads": "1", "python_enable_replacements": "false"})
        try:
            # Views that dbt made name the database as the file is named.
            name = path.stem if path.stem.lower() not in _TAKEN else "served"
            self._con.execute(f"attach {literal(str(path))} as {quoted(name)} (read_only)")
            self._con.execute(f"use {quoted(name)}")
            self._con.execute("set enable_external_access = false")
            self._con.execute("set lock_configuration = true")
            self.offers = read_offers(self._con)
        except BaseException:
            self._con.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._con.close()

    def offer(self, name: str) -> Offer:
        if name not in self.offers:
            raise NotFoundError(f"no prediction '{name}'; there are: {', '.join(self.offers) or 'none'}")
        return self.offers[name]

    def summary(self, offer: Offer) -> Row:
        """How many rows are scored, by which version, as of when, and between which scores."""
        sql = (
            f"select count(*) as row_count, max(version) as version, max({quoted(offer.as_of)})::timestamp as as_of, "
            f"max(scored_at) as scored_at, min(score) as least, max(score) as greatest from {offer.table}"
        )
        return self._one(sql) or {}

    def ranked(self, name: str, *, containing: str, low: float, high: float, most: int) -> list[Row]:
        """The first scores by rank, from `low` to `high`, of entities whose text has `containing` in it; no reasons."""
        offer = self.offer(name)
        columns = ", ".join(quoted(column) for column in offer.columns if column != "reasons")
        return self._all(
            f"select {columns} from {offer.table} where contains({quoted(offer.entity)}::varchar, ?) "
            f"and score between ? and ? order by score_rank limit {most:d}",
            [containing, low, high],
        )

    def values(self, name: str, feature: str, most: int) -> list[Any]:
        """The most frequent values of a feature among the rows of the file, missing ones left out."""
        offer = self.offer(name)
        _check_known(offer, {feature: None})
        if offer.rows is None:
            return []
        column = quoted(feature)
        rows = self._all(
            f"select {column} as value from {offer.rows} where {column} is not null group by {column} "
            f"order by count(*) desc, {column} limit {most:d}"
        )
        return [row["value"] for row in rows]

    def score(self, name: str, entity: object) -> Row:
        """The entity's row of the table of scores, without reasons; raises NotFoundError where there is no such one."""
        offer = self.offer(name)
        _check_single(offer)
        row = self._scored(offer, entity, [column for column in offer.columns if column != "reasons"])
        as_of = row.pop(offer.as_of)
        return {"prediction": name, "entity": row.pop(offer.entity), **row, "as_of": as_of}

    def recommended(self, name: str, entity: object, most: int) -> Row:
        """The first items of the entity's list, best first; raises NotFoundError where there is no list."""
        offer = self.offer(name)
        if offer.item is None:
            raise NotFoundError(f"'{name}' scores a {offer.entity} and puts no items in order; ask /score/{name}")
        listed = ["score", "item_rank", *(["reasons"] if offer.has_reasons else [])]
        rows = self._all(
            f"select version, {quoted(offer.as_of)} as as_of, scored_at, {quoted(offer.entity)} as entity, "
            f"{quoted(offer.item)} as item, {', '.join(listed)} from {offer.table} "
            f"where {quoted(offer.entity)} = try_cast(? as {offer.entity_type}) and item_rank <= ? order by item_rank",
            [_key(offer, entity), most],
        )
        if not rows:
            raise NotFoundError(_unknown(offer, entity))
        shared = {key: rows[0][key] for key in ("entity", "version", "as_of", "scored_at")}
        items = [{key: row[key] for key in ("item", *listed)} for row in rows]
        return {"prediction": name, **shared, "items": items}

    def reasons(self, name: str, entity: object) -> Row:
        """Why the entity scores so; raises NotFoundError where the file does not say."""
        offer = self.offer(name)
        _check_single(offer)
        if offer.has_reasons:
            row = self._scored(offer, entity, [offer.entity, "version", "score", "reasons"])
            return {"prediction": name, "entity": row.pop(offer.entity), **row}
        return self.explain_row(name, self.features(name, entity))

    def features(self, name: str, entity: object, changes: Mapping[str, Any] | None = None) -> Row:
        """The features of the entity that its score was made from, with `changes` in their place."""
        offer = self.offer(name)
        _check_single(offer)
        _check_macro(offer)
        if offer.rows is None:
            raise NotFoundError(f"the file holds no rows of '{name}' to change; give all features in `features`")
        changes = changes or {}
        _check_known(offer, changes)
        if left_out := [feature for feature in offer.left_out if feature not in changes]:
            raise ExamplesError(
                f"the file leaves out {_listed(left_out)} of '{name}'; give each in `changes`, null where it is not "
                "known"
            )
        kept = [feature for feature in offer.features if feature not in offer.left_out]
        listed = ", ".join(f"scored_rows.{quoted(feature)}" for feature in kept) or "1"
        row = self._one(
            f"select {listed} from {offer.rows} as scored_rows inner join {offer.table} as scores "
            f"on scored_rows.{quoted(offer.entity)} = scores.{quoted(offer.entity)} "
            f"and scored_rows.{quoted(offer.as_of)} = scores.{quoted(offer.as_of)} "
            f"where scored_rows.{quoted(offer.entity)} = try_cast(? as {offer.entity_type})",
            [_key(offer, entity)],
        )
        if row is None:
            raise NotFoundError(_unknown(offer, entity))
        return {feature: changes.get(feature, row.get(feature)) for feature in offer.features}

    def score_row(self, name: str, features: Mapping[str, Any]) -> Row:
        """What the macro says of a row, all of whose features are given; None is a missing value."""
        offer = self.offer(name)
        score, scored = self._called(offer, offer.macro, features)
        return {"prediction": name, "version": self._version(offer), "score": score, "features": scored}

    def score_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """As `score_row` of each of them, planned once and for all.

        The rows should be `alike`, or raise what DuckDB raises where one cannot be read.
        """
        offer = self.offer(name)
        _check_macro(offer)
        for row in rows:
            _check_features(offer, row)
        given = [{feature: row[feature] for feature in offer.features} for row in rows]
        found = self._prepared(offer, given)
        version = self._version(offer)
        return [
            {"prediction": name, "version": version, "score": row["answer"], "features": row["row"]} for row in found
        ]

    def explain_row(self, name: str, features: Mapping[str, Any]) -> Row:
        """The reasons that the file's explainer gives for a row."""
        offer = self.offer(name)
        if offer.explainer is None:
            raise NotFoundError(
                f"the file cannot explain rows of '{name}'; with reasons=3 in the prediction's config, a build writes "
                "the reasons of each scored entity"
            )
        reasons, _ = self._called(offer, offer.explainer, features)
        return {**self.score_row(name, features), "reasons": reasons}

    def _scored(self, offer: Offer, entity: object, columns: list[str]) -> Row:
        row = self._one(
            f"select {', '.join(map(quoted, columns))} from {offer.table} "
            f"where {quoted(offer.entity)} = try_cast(? as {offer.entity_type})",
            [_key(offer, entity)],
        )
        if row is None:
            raise NotFoundError(_unknown(offer, entity))
        return row

    def _prepared(self, offer: Offer, rows: list[Row]) -> list[Row]:
        """The macro's answers, by a statement that is planned at its first use.

        DuckDB plans EXECUTE anew where the type of an argument is another one; so the rows come as a variable of the
        right type. They must not come as a table: DuckDB 1.5.6 takes what it knew of its rows at PREPARE for true of
        all rows to come.
        """
        place = list(self.offers).index(offer.name)
        given = Names(offer.features).plain("given")
        kind = f"STRUCT({', '.join(f'{quoted(feature)} {kind}' for feature, kind in offer.features.items())})[]"
        with self._lock:
            if place not in self._plans:
                self._con.execute(
                    f"prepare score_rows_{place} as select {offer.macro}({given}) as answer, {given} as row "
                    f"from (select unnest($1::{kind}) as {given})"
                )
                self._plans.add(place)
            self._con.execute(f"set variable score_rows = ?::{kind}", [rows])
            return self._all(f"execute score_rows_{place}(getvariable('score_rows'))")

    def _version(self, offer: Offer) -> int | None:
        if offer.name not in self._versions:
            row = self._one(f"select version from {offer.table} limit 1")
            self._versions[offer.name] = row["version"] if row else None
        return self._versions[offer.name]

    def _called(self, offer: Offer, function: str | None, features: Mapping[str, Any]) -> tuple[Any, Row]:
        """What the function says of the row, and the row as it read it, in the types of the features."""
        _check_macro(offer)
        _check_features(offer, features)
        values = ", ".join(f"?::{kind} as {quoted(feature)}" for feature, kind in offer.features.items())
        row = [features[feature] for feature in offer.features]
        given = Names(offer.features).plain("given")
        try:
            found = self._one(
                f"select {function}({given}) as answer, {given} as row from (select {values}) as {given}", row
            )
        except (duckdb.Error, RuntimeError) as error:  # RuntimeError: text that is no Unicode
            told = f"'{offer.name}' cannot score the row: {plain_exception(error)}"
            raise ExamplesError(self._unreadable(offer, features) or told) from error
        assert found is not None
        return found["answer"], found["row"]

    def _unreadable(self, offer: Offer, features: Mapping[str, Any]) -> str | None:
        """The first feature whose value is not of its type."""
        for feature, kind in offer.features.items():
            try:
                self._one(f"select ?::{kind} as given", [features[feature]])
            except (duckdb.Error, RuntimeError):
                return f"the feature '{feature}' is {features[feature]!r}, which is no {kind}; give it as one, or null"
        return None

    def _one(self, sql: str, values: list[Any] | None = None) -> Row | None:
        rows = self._all(sql, values)
        return rows[0] if rows else None

    def _all(self, sql: str, values: list[Any] | None = None) -> list[Row]:
        with self._lock:
            found = self._con.execute(sql, values or []).fetchall()
            names = [column[0] for column in self._con.description or []]
        return [{name: json_value(value) for name, value in zip(names, row, strict=True)} for row in found]


def _key(offer: Offer, entity: object) -> object:
    """What is asked for, as the key it is; DuckDB would round 41.6 to the entity 42. Raises NotFoundError."""
    if offer.entity_type.endswith(("INT", "INTEGER")) and not re.fullmatch(r"[+-]?\d+", str(entity)):
        raise NotFoundError(_unknown(offer, entity))
    return entity


def _check_single(offer: Offer) -> None:
    if offer.item is not None:
        raise NotFoundError(
            f"'{offer.name}' puts {offer.item}s in order, so that a {offer.entity} has a list and no single score; see "
            f"the table pred__{offer.name}, ask /recommend/{offer.name}, or give all features of a row"
        )


def _check_macro(offer: Offer) -> None:
    if offer.macro is None:
        raise NotFoundError(
            f"the file holds no function that scores rows of '{offer.name}'; ask for the score of an entity"
        )


def _check_features(offer: Offer, features: Mapping[str, Any]) -> None:
    _check_known(offer, features)
    if missing := [feature for feature in offer.features if feature not in features]:
        raise ExamplesError(
            f"'{offer.name}' also takes {_listed(missing)}; give each, null where it is not known, or an entity "
            "with changes"
        )


def _check_known(offer: Offer, features: Mapping[str, Any]) -> None:
    if unknown := [feature for feature in features if feature not in offer.features]:
        raise ExamplesError(
            f"'{offer.name}' takes no feature {_listed(unknown)}; it takes {_listed(list(offer.features), most=200)}"
        )


def _listed(names: list[str], most: int = 10) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _unknown(offer: Offer, entity: object) -> str:
    return f"no {offer.entity} {entity!r} is scored by '{offer.name}'; look for it in the table pred__{offer.name}"


def stamp_of(path: Path) -> tuple[int, int, int]:
    """What tells one file at a path from the next."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
