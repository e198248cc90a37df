"""How rows of Arrow become numbers, codes of categories, and padded sequences, as all families but trees read them.

Everything that is fitted here, vocabularies, means and scales, comes from training rows only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import Examples, ExamplesError, Feature
from ibis_features.examples import LABEL
from models_ml.encoding import fit_vocabulary

NULL, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""Codes of a category: NULL (in a sequence: padding), not in the vocabulary, and its first value."""

CLIP = 6.0

STEPS_PER_LENGTH = 8
"""Sequences are padded to a multiple of this, so that a backend that compiles by shape compiles a handful."""


@dataclass(frozen=True)
class NumberInput:
    """A number, an embedding or a sequence of numbers: `(squash(x) - mean) * scale`, one pair a position.

    `has_indicator` adds one input that is 1 where the value is missing.
    """

    feature: str
    role: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    has_indicator: bool = False


@dataclass(frozen=True)
class CategoryInput:
    """A category or a sequence of categories, by its place in the vocabulary of the training rows."""

    feature: str
    vocabulary: tuple[str, ...]

    @property
    def codes(self) -> int:
        return len(self.vocabulary) + FIRST_KNOWN

    @property
    def width(self) -> int:
        """How many numbers stand for one value."""
        return min(32, 2 + round(len(self.vocabulary) ** 0.5))


@dataclass(frozen=True)
class Encoded:
    """Rows as a network reads them. Sequences lie at the left, the rest up to `steps` is padding of 0."""

    numbers: np.ndarray  # float32 [rows, numbers]
    categories: np.ndarray  # int32 [rows, categories]
    sequence_numbers: np.ndarray  # float32 [rows, steps, number sequences]
    sequence_categories: np.ndarray  # int32 [rows, steps, category sequences]
    lengths: np.ndarray  # int32 [rows], each at most `steps`

    def inputs(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The network's inputs for these rows, padded no further than their longest sequence asks for."""
        inputs = {}
        if self.numbers.shape[1]:
            inputs["numbers"] = self.numbers[rows]
        if self.categories.shape[1]:
            inputs["categories"] = self.categories[rows]
        if self.sequence_numbers.shape[2] or self.sequence_categories.shape[2]:
            lengths = self.lengths[rows]
            longest = int(lengths.max(initial=1))
            steps = min(-(-longest // STEPS_PER_LENGTH) * STEPS_PER_LENGTH, self.sequence_numbers.shape[1])
            inputs["mask"] = np.arange(steps) < lengths[:, None]
            if self.sequence_numbers.shape[2]:
                inputs["sequence_numbers"] = self.sequence_numbers[rows, :steps]
            if self.sequence_categories.shape[2]:
                inputs["sequence_categories"] = self.sequence_categories[rows, :steps]
        return inputs


@dataclass(frozen=True)
class InputEncoding:
    """How features become a network's inputs, fitted on training rows."""

    numbers: tuple[NumberInput, ...]
    categories: tuple[CategoryInput, ...]
    sequence_numbers: tuple[NumberInput, ...]
    sequence_categories: tuple[CategoryInput, ...]
    steps: int

    @property
    def features(self) -> list[str]:
        numbers = [number.feature for number in (*self.numbers, *self.sequence_numbers)]
        return numbers + [category.feature for category in (*self.categories, *self.sequence_categories)]

    @property
    def number_width(self) -> int:
        return len(self.number_features)

    @property
    def number_features(self) -> list[str]:
        """The feature behind each of the numbers, [number_width]: their positions first, their indicators after."""
        positions = [number.feature for number in self.numbers for _ in number.mean]
        return positions + [number.feature for number in self.numbers if number.has_indicator]

    def encode(self, batch: pa.RecordBatch) -> Encoded:
        """Rows of a batch (columns as in `Examples.batches`) as inputs; NULL, NaN and infinities are missing.

        Raises ExamplesError where the sequences of a row differ in length.
        """
        return self.standardise(self.squash(batch))

    def squash(self, batch: pa.RecordBatch) -> Encoded:
        """As `encode`, but numbers are not yet standardised, and NaN where they are missing or padding."""
        rows = batch.num_rows
        numbers = [_static_numbers(batch.column(number.feature), number) for number in self.numbers]
        codes = [_codes(batch.column(category.feature), category, null=NULL) for category in self.categories]
        lists = {s.feature: _ListColumn(batch.column(s.feature)) for s in self._sequences()}
        _check_parallel(lists)
        lengths = next(iter(lists.values())).lengths if lists else np.zeros(rows, np.int64)
        sequence_numbers = [
            signed_log(lists[s.feature].last(self.steps, _floats(lists[s.feature].members), np.float32(np.nan)))
            for s in self.sequence_numbers
        ]
        sequence_codes = [
            lists[s.feature].last(self.steps, _codes(lists[s.feature].members, s, null=UNKNOWN), np.int32(NULL))
            for s in self.sequence_categories
        ]
        return Encoded(
            numbers=np.concatenate(numbers, axis=1) if numbers else np.empty((rows, 0), np.float32),
            categories=np.stack(codes, axis=1) if codes else np.empty((rows, 0), np.int32),
            sequence_numbers=_stack(sequence_numbers, (rows, self.steps, 0), np.float32),
            sequence_categories=_stack(sequence_codes, (rows, self.steps, 0), np.int32),
            lengths=np.minimum(lengths, self.steps).astype(np.int32),
        )

    def standardise(self, squashed: Encoded) -> Encoded:
        """Centre and scale numbers, clip them, put 0 where they are missing, and append the indicators."""
        starts = np.cumsum([0, *(len(number.mean) for number in self.numbers)])
        flagged = [int(start) for start, number in zip(starts, self.numbers, strict=False) if number.has_indicator]
        indicators = np.isnan(squashed.numbers[:, flagged]).astype(np.float32)
        numbers = _standardised(squashed.numbers, self.numbers)
        return replace(
            squashed,
            numbers=np.concatenate([numbers, indicators], axis=1),
            sequence_numbers=_standardised(squashed.sequence_numbers, self.sequence_numbers),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "InputEncoding":
        def numbers(key: str) -> tuple[NumberInput, ...]:
            return tuple(NumberInput(**{**s, "mean": tuple(s["mean"]), "scale": tuple(s["scale"])}) for s in state[key])

        def categories(key: str) -> tuple[CategoryInput, ...]:
            return tuple(CategoryInput(s["feature"], tuple(s["vocabulary"])) for s in state[key])

        return cls(
            numbers("numbers"),
            categories("categories"),
            numbers("sequence_numbers"),
            categories("sequence_categories"),
            int(state["steps"]),
        )

    def _sequences(self) -> tuple[NumberInput | CategoryInput, ...]:
        return (*self.sequence_numbers, *self.sequence_categories)


def blank_encoding(train: Examples, steps: int) -> InputEncoding:
    """The inputs with their vocabularies, before means and scales are fitted."""
    schema = train.schema

    def number(feature: Feature) -> NumberInput:
        return NumberInput(feature.name, feature.role, (0.0,) * feature.width, (1.0,) * feature.width)

    def category(feature: Feature) -> CategoryInput:
        return CategoryInput(feature.name, fit_vocabulary(train, feature.name))

    return InputEncoding(
        numbers=tuple(number(f) for f in schema.features if f.role in ("number", "embedding")),
        categories=tuple(category(f) for f in schema.features if f.role == "category"),
        sequence_numbers=tuple(number(f) for f in schema.features if f.role == "number_sequence"),
        sequence_categories=tuple(category(f) for f in schema.features if f.role == "category_sequence"),
        steps=steps,
    )


def fit_statistics(blank: InputEncoding, squashed: Encoded) -> InputEncoding:
    """Means, scales and missing-indicators from squashed training rows."""
    numbers, start = [], 0
    for number in blank.numbers:
        columns = squashed.numbers[:, start : start + len(number.mean)]
        has_indicator = bool(np.isnan(columns).any())
        numbers.append(replace(_with_statistics(number, columns), has_indicator=has_indicator))
        start += len(number.mean)
    sequence_numbers = [
        _with_statistics(number, squashed.sequence_numbers[:, :, place].reshape(-1, 1))
        for place, number in enumerate(blank.sequence_numbers)
    ]
    return replace(blank, numbers=tuple(numbers), sequence_numbers=tuple(sequence_numbers))


def read_rows(
    examples: Examples, encoding: InputEncoding, max_rows: int, draws: np.random.Generator
) -> tuple[Encoded, np.ndarray]:
    """At most `max_rows` rows, squashed, and their labels (float32 [rows]); of more a sample by `draws`."""
    total = examples.rows()
    kept = np.sort(draws.choice(total, max_rows, replace=False)) if total > max_rows else np.arange(total)
    encoded, labels, start = [], [], 0
    for batch in examples.batches():
        low, high = np.searchsorted(kept, [start, start + batch.num_rows])
        chosen = batch.take(pa.array(kept[low:high] - start))
        encoded.append(encoding.squash(chosen))
        labels.append(chosen.column(LABEL).to_numpy(zero_copy_only=False))
        start += batch.num_rows
    names = [field.name for field in fields(Encoded)]
    whole = Encoded(**{name: np.concatenate([getattr(piece, name) for piece in encoded]) for name in names})
    return whole, np.concatenate(labels)


def _with_statistics(number: NumberInput, columns: np.ndarray) -> NumberInput:
    """The mean and 1 / standard deviation of each column's present values; a constant column becomes 0."""
    mean, scale = [], []
    for place in range(columns.shape[1]):
        present = columns[:, place][~np.isnan(columns[:, place])].astype(np.float64)
        middle = present.mean() if len(present) else 0.0
        spread = present.std() if len(present) else 0.0
        mean.append(float(np.float32(middle)))
        scale.append(float(np.float32(1 / spread)) if spread > 1e-6 * max(1.0, abs(middle)) else 0.0)
    return replace(number, mean=tuple(mean), scale=tuple(scale))


def _standardised(squashed: np.ndarray, numbers: tuple[NumberInput, ...]) -> np.ndarray:
    """[..., positions] centred, scaled and clipped, 0 where missing."""
    mean = np.array([m for number in numbers for m in number.mean], np.float32)
    scale = np.array([s for number in numbers for s in number.scale], np.float32)
    values = np.clip((squashed - mean) * scale, -CLIP, CLIP)
    values[np.isnan(values)] = 0.0
    return values


def _static_numbers(column: pa.Array, number: NumberInput) -> np.ndarray:
    """Float32 [rows, positions], NaN where missing. Embeddings are taken as they are, numbers as signed log."""
    if number.role == "embedding":
        lists = _ListColumn(column)
        return lists.last(len(number.mean), _floats(lists.members), np.float32(np.nan))
    return signed_log(_floats(column))[:, None]


def _floats(values: pa.Array) -> np.ndarray:
    """Float32 with NaN for NULL and the infinities."""
    floats = np.array(pc.fill_null(pc.cast(values, pa.float32()), np.nan).to_numpy(zero_copy_only=False))
    floats[~np.isfinite(floats)] = np.nan
    return floats


def signed_log(values: np.ndarray) -> np.ndarray:
    """sign(x) * log(1 + |x|), which draws in the long tails of counts and sums.

    Float32, computed as float64: of a column that hardly varies the last bit counts, and SQL has to find the same one.
    """
    return (np.sign(values) * np.log1p(np.abs(values.astype(np.float64)))).astype(np.float32)


def _codes(values: pa.Array, category: CategoryInput, *, null: int) -> np.ndarray:
    """Int32 codes; `null` is the code of a NULL."""
    strings = pc.cast(values, pa.string())
    places = pc.fill_null(pc.index_in(strings, pa.array(category.vocabulary, pa.string())), UNKNOWN - FIRST_KNOWN)
    codes = places.to_numpy(zero_copy_only=False).astype(np.int32) + FIRST_KNOWN
    codes[pc.is_null(strings).to_numpy(zero_copy_only=False)] = null
    return codes


def _stack(columns: list[np.ndarray], empty: tuple[int, ...], kind: type) -> np.ndarray:
    return np.stack(columns, axis=-1) if columns else np.empty(empty, kind)


class _ListColumn:
    """A list column as flat members and, for each row, where its list ends and how long it is; NULL is empty."""

    def __init__(self, column: pa.Array) -> None:
        if not pa.types.is_list(column.type):
            column = pc.cast(column, pa.list_(column.type.value_type))
        offsets = column.offsets.to_numpy().astype(np.int64)
        present = pc.is_valid(column).to_numpy(zero_copy_only=False)
        self.members = column.values.slice(offsets[0], offsets[-1] - offsets[0])
        self.lengths = np.where(present, np.diff(offsets), 0)
        self._ends = offsets[1:] - offsets[0]

    def last(self, steps: int, members: np.ndarray, filler: Any) -> np.ndarray:
        """The last `steps` members of every row, [rows, steps], with `filler` after the last one."""
        lengths = np.minimum(self.lengths, steps)
        real = np.arange(steps) < lengths[:, None]
        places = (self._ends - lengths)[:, None] + np.arange(steps)
        values = np.full(real.shape, filler, members.dtype)
        values[real] = members[places[real]]
        return values


def _check_parallel(lists: Mapping[str, _ListColumn]) -> None:
    """Raises ExamplesError where the sequences of a row differ in length."""
    names = list(lists)
    for name in names[1:]:
        first, other = lists[names[0]].lengths, lists[name].lengths
        if (differing := np.flatnonzero(first != other)).size:
            row = differing[0]
            raise ExamplesError(
                f"the sequences '{names[0]}' and '{name}' differ in length on {differing.size:,} rows "
                f"({first[row]} and {other[row]} members on one); the network reads them step by step: "
                "build both from the same events, NULL members kept, or list one of them in exclude"
            )
