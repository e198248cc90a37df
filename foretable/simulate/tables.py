"""From codes to the Parquet files of the raw contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foretable.simulate.lives import Truth
from foretable.simulate.log import DAY_MS, Columns
from foretable.simulate.words import (
    ADJECTIVES,
    BRANDS,
    CATEGORIES,
    CHANNELS,
    CITIES,
    DEVICES,
    EVENT_TYPES,
    GENDERS,
    INCOME_BANDS,
    MALFORMED_TIMES,
    MISSPELT_TYPES,
    OCCUPATIONS,
    QUERY_FORMS,
    REVIEW_CLOSINGS,
    REVIEW_OPENINGS,
    REVIEW_VERDICTS,
)  # fmt: skip
from foretable.simulate.world import START, Array, Calendar, Items, Users

START_MS = int(np.datetime64(START, "ms").astype(np.int64))
_NOUNS = [noun for _, nouns, _ in CATEGORIES.values() for noun in nouns]
_ROWS_PER_GROUP = 122_880


def write(table: pa.Table, path: Path) -> int:
    pq.write_table(table, path, compression="zstd", row_group_size=_ROWS_PER_GROUP)
    return int(table.num_rows)


def events_table(events: Columns, users: int, items: int, campaigns: int) -> pa.Table:
    price = pa.array(events["price"], mask=events["no_price"])
    text = events["text"]
    occurred = _text_of_time(events["occurred"])
    broken = text >= 0
    if broken.any():
        words = _words((None, "", *MALFORMED_TIMES), text[broken])
        occurred = pc.replace_with_mask(occurred, pa.array(broken), words)
    return pa.table({
        "event_id": _ids("e", events["event"], 8),
        "user_id": _ids_from("u", users, events["user"], 6),
        "session_id": _ids("s", events["session"], 7),
        "event_type": _words((*EVENT_TYPES, *MISSPELT_TYPES), events["type"]),
        "item_id": _ids_from("i", items, events["item"], 5),
        "occurred_at": occurred,
        "loaded_at": _text_of_time(events["loaded"]),
        "quantity": _doubles(events["quantity"]),
        "price": price,
        "duration_seconds": _doubles(events["duration"]),
        "query": _queries(events["query"]),
        "channel": _words(CHANNELS, events["channel"]),
        "device": _words(DEVICES, events["device"]),
        "campaign_id": _ids_from("c", campaigns, events["campaign"], 3),
        "order_id": _ids("o", events["order"], 6),
    })  # fmt: skip


def users_table(users: Users, registered: Array, days: int, rng: np.random.Generator) -> pa.Table:
    """One row per user, and a second one for those who moved. `registered`: milliseconds from the first midnight."""
    count = len(registered)
    moved = np.flatnonzero(rng.random(count) < 0.03)
    moved = moved[registered[moved] < (days - 1) * DAY_MS]
    earliest = np.maximum(registered[moved], 0)
    updated = earliest + (rng.random(len(moved)) * (days * DAY_MS - 60_000 - earliest)).astype(np.int64)
    who = np.concatenate([np.arange(count), moved])
    city = users.profile["city"][who]
    city[count:] = (city[count:] + rng.integers(1, len(CITIES), len(moved))) % len(CITIES)
    profile = {name: column[who] for name, column in users.profile.items()}
    order = np.argsort(who, kind="stable")
    table = pa.table({
        "user_id": _ids_from("u", count, who, 6),
        "registered_at": _times(registered[who]),
        "birth_year": pa.array(profile["birth_year"], pa.int32(), mask=profile["birth_year"] < 0),
        "gender": _words(GENDERS, profile["gender"]),
        "city": _words([name for name, _ in CITIES], city),
        "region": _words([region for _, region in CITIES], city),
        "occupation": _words(OCCUPATIONS, profile["occupation"]),
        "income_band": _words(INCOME_BANDS, profile["income_band"]),
        "updated_at": _times(np.concatenate([registered, updated])),
    })  # fmt: skip
    return table.take(pa.array(order))


def items_table(items: Items, days: int, rng: np.random.Generator) -> pa.Table:
    """One row per item, and a second one for those whose description was rewritten."""
    count = len(items.price)
    listed = items.listed * DAY_MS + 4 * 3_600_000
    names, phrases = list(CATEGORIES), [words for _, _, words in CATEGORIES.values()]
    adjectives = rng.integers(0, len(ADJECTIVES), count)
    firsts, steps = rng.integers(0, 3, count), rng.integers(1, 3, count)
    titles, descriptions, rewritten = [], [], []
    for item, category in enumerate(items.category):
        noun, brand = _NOUNS[category * 3 + items.noun[item]], BRANDS[items.brand[item]]
        one, other = phrases[category][firsts[item]], phrases[category][(firsts[item] + steps[item]) % 3]
        adjective, group = ADJECTIVES[adjectives[item]], names[category].split("/")[1]
        titles.append(f"{brand} {adjective} {noun}")
        descriptions.append(f"{brand} {noun}, {adjective}, with {one} and {other}, for your {group}.")
        rewritten.append(f"New from {brand}: {noun} with {other} and {one}. A favourite in {group}.")
    again = np.flatnonzero(rng.random(count) < 0.04)
    earliest = np.maximum(listed[again], 0)
    updated = earliest + (rng.random(len(again)) * (days * DAY_MS - earliest)).astype(np.int64)
    who = np.concatenate([np.arange(count), again])
    order = np.argsort(who, kind="stable")
    table = pa.table({
        "item_id": _ids_from("i", count, who, 5),
        "title": pa.array(titles).take(pa.array(who)),
        "description": pa.array(descriptions + [rewritten[item] for item in again]),
        "category_id": _words(names, items.category[who]),
        "brand": _words(BRANDS, items.brand[who]),
        "price": pa.array(items.price[who]),
        "image": pa.nulls(len(who), pa.string()),
        "listed_at": _times(listed[who]),
        "updated_at": _times(np.concatenate([listed, updated])),
    })  # fmt: skip
    return table.take(pa.array(order))


def reviews_table(reviews: Columns, users: int, items: int) -> pa.Table:
    rating = reviews["rating"]
    noun = pa.array(_NOUNS).take(pa.array(reviews["noun"]))
    around = pc.split_pattern(_by_rating(REVIEW_VERDICTS, rating, reviews["verdict"]), "{noun}")
    body = pc.binary_join_element_wise(
        _by_rating(REVIEW_OPENINGS, rating, reviews["opening"]),
        pc.binary_join_element_wise(pc.list_element(around, 0), noun, pc.list_element(around, 1), ""),
        _by_rating(REVIEW_CLOSINGS, rating, reviews["closing"]),
        " ",
    )  # fmt: skip
    return pa.table({
        "review_id": _ids("r", np.arange(len(rating)), 6),
        "user_id": _ids_from("u", users, reviews["user"], 6),
        "item_id": _ids_from("i", items, reviews["item"], 5),
        "rating": pa.array(rating, pa.int32()),
        "body": body,
        "created_at": _times(reviews["created"]),
    })  # fmt: skip


def campaigns_table(calendar: Calendar) -> pa.Table:
    kind, first, last, discount = zip(*calendar.campaigns, strict=True)
    return pa.table({
        "campaign_id": _ids_from("c", len(kind), np.arange(len(kind)), 3),
        "kind": pa.array(kind),
        "starts_at": _times(np.array(first) * DAY_MS),
        "ends_at": _times(np.array(last) * DAY_MS),
        "discount": pa.array(discount, pa.float64()),
    })  # fmt: skip


def truth_table(truth: Truth, users: int) -> pa.Table:
    return pa.table({
        "user_id": _ids_from("u", users, truth.user, 6),
        "as_of": _times(truth.day * DAY_MS),
        # Nine digits, so that the bytes do not depend on the last bit of an exponential.
        "purchased_30d": pa.array(np.round(truth.purchased, 9)),
        "churned_30d": pa.array(np.round(truth.churned, 9)),
    })  # fmt: skip


def _ids(letter: str, number: Array, digits: int) -> pa.Array:
    """Ids like e00000042; NULL where the number is negative."""
    padded = pc.utf8_lpad(pa.array(number, mask=number < 0).cast(pa.string()), digits, "0")
    return pc.binary_join_element_wise(letter, padded, "")


def _ids_from(letter: str, count: int, number: Array, digits: int) -> pa.Array:
    """The same for few distinct ids; -2 gives the empty string."""
    known = _ids(letter, np.arange(count) + 1, digits)
    known = pa.concat_arrays([known, pa.array([""])])
    return known.take(pa.array(np.where(number == -2, count, number), mask=number == -1))


def _words(vocabulary: Sequence[str | None], code: Array) -> pa.Array:
    """Codes to words: -1 gives NULL, -2 the empty string."""
    words = pa.array([*vocabulary, ""], pa.string())
    return words.take(pa.array(np.where(code == -2, len(vocabulary), code), mask=code == -1))


def _queries(code: Array) -> pa.Array:
    given, inverse = np.unique(code, return_inverse=True)
    texts: list[str | None] = []
    for each in given.tolist():
        rest, brand = divmod(each, len(BRANDS))
        noun, form = divmod(rest, len(QUERY_FORMS))
        texts.append(QUERY_FORMS[form].format(noun=_NOUNS[noun], brand=BRANDS[brand]).lower() if each >= 0 else None)
    return pa.array(texts, pa.string()).take(pa.array(inverse))


def _by_rating(texts: Mapping[int, Sequence[str]], rating: Array, choice: Array) -> pa.Array:
    every = [text for number in sorted(texts) for text in texts[number]]
    return pa.array(every).take(pa.array((rating - 1) * len(texts[1]) + choice))


def _doubles(column: Array) -> pa.Array:
    return pa.array(column, pa.float64(), mask=np.isnan(column))


def _times(milliseconds: Array) -> pa.Array:
    """Milliseconds since the first day's midnight to TIMESTAMP."""
    return pa.array(milliseconds.astype(np.int64) + START_MS).cast(pa.timestamp("ms")).cast(pa.timestamp("us"))


def _text_of_time(milliseconds: Array) -> pa.Array:
    return pa.array(milliseconds + START_MS).cast(pa.timestamp("ms")).cast(pa.string())
