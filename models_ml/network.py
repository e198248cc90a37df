"""What the two networks (mlp, lstm) share: inputs from Arrow batches, the training loop, weights in and out.

Layers come from `keras` and arithmetic from `keras.ops`, so that KERAS_BACKEND may name another backend than
TensorFlow. A network is always built by its family's own `build`; an artifact holds numbers and settings, no code.
"""

import io
import json
import os
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ArtifactError, Examples, ExamplesError, Feature, FeatureSchema
from ibis_features.examples import LABEL
from models_ml.encoding import fit_vocabulary
from models_ml.preconditions import Bounds, check_params, positive_weight
from models_ml.trainer import Progress

NULL, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""Codes of a category: NULL (in a sequence: padding), not in the vocabulary, and its first value."""

CLIP = 6.0
ROWS_PER_CALL = 4096
STEPS_PER_LENGTH = 8
"""Sequences are padded to a multiple of this, so that a backend that compiles by shape compiles a handful."""

LEAST_STEPS_PER_EPOCH = 32
DECAY = 0.4
"""The learning rate is multiplied by this after every epoch that does not improve on the best one."""

PARTS = ("network.json", "weights.npz")
LEAST_LOGIT = -700.0

IMPORTING = threading.Lock()
BUILDING = threading.Lock()
"""keras.utils.set_random_seed sets global seeds, which the layers draw from as they are built: one at a time."""

Build = Callable[["InputEncoding", Mapping[str, Any]], Any]
"""Makes the untrained keras.Model for an encoding and params; its output is the logit, [rows, 1]."""


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
        return sum(len(number.mean) + number.has_indicator for number in self.numbers)

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
            _signed_log(lists[s.feature].last(self.steps, _floats(lists[s.feature].members), np.float32(np.nan)))
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


def fit_network(
    family: str,
    build: Build,
    bounds: Bounds,
    train: Examples,
    validate: Examples,
    *,
    params: Mapping[str, Any],
    seed: int,
    class_weight: str | None,
    progress: Progress,
) -> "NetworkModel":
    """Train until the log loss on `validate` has not fallen for `patience` epochs; keep the best epoch's weights.

    Where there are more than `max_rows` training rows, a seeded sample of that size trains. The encoded rows are
    held in memory. Raises ConfigError and ExamplesError as `check_params` and `positive_weight` do.
    """
    check_params(family, params, bounds)
    weight = positive_weight(train, validate, class_weight)
    progress("reading", 0.0)
    keras = import_keras()
    draws = np.random.default_rng(seed)
    blank = _blank_encoding(train, steps=params.get("max_length", 0))
    squashed, labels = _read(train, blank, params["max_rows"], draws)
    encoding = _fit_statistics(blank, squashed)
    rows = encoding.standardise(squashed)
    validate_rows, validate_labels = _read(validate, encoding, params["max_rows"], draws)
    with BUILDING:
        keras.utils.set_random_seed(seed)
        network = build(encoding, params)
    network.get_layer("logit").bias.assign([_log_odds(labels, weight)])
    _train(
        network,
        rows,
        labels,
        validate=(encoding.standardise(validate_rows), validate_labels),
        params=params,
        weight=weight,
        draws=draws,
        progress=progress,
    )
    return NetworkModel(family, network, encoding, params, train.schema)


def load_network(
    family: str, build: Build, bounds: Bounds, parts: Mapping[str, bytes], schema: FeatureSchema
) -> "NetworkModel":
    """Build a fitted network from the parts of its `dump`; raises ArtifactError where they do not fit."""
    if set(parts) != set(PARTS):
        raise ArtifactError(
            f"a network consists of {', '.join(PARTS)}, found {', '.join(parts) or 'nothing'}; train anew"
        )
    try:
        state = json.loads(parts["network.json"])
        encoding, params = InputEncoding.from_json(state["encoding"]), dict(state["params"])
        check_params(family, params, bounds)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError("the network's settings cannot be read; the artifact is damaged: train anew") from error
    if state.get("family") != family or sorted(encoding.features) != sorted(schema.names):
        raise ArtifactError(f"the network is not a {family} over the columns of the feature schema; train anew")
    with BUILDING:
        network = build(encoding, params)
    _set_weights(network, parts["weights.npz"])
    return NetworkModel(family, network, encoding, params, schema)


class NetworkModel:
    """A fitted network."""

    def __init__(
        self, family: str, network: Any, encoding: InputEncoding, params: Mapping[str, Any], schema: FeatureSchema
    ) -> None:
        self.family = family
        self.network = network
        self.encoding = encoding
        self.params = params
        self.schema = schema
        self._logits = _compiled(network)

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """The probability of a true label, float32 [rows]. Several threads may call at once."""
        if not batch.num_rows:
            return np.empty(0, np.float32)
        return _probabilities(_all_logits(self._logits, self.encoding.encode(batch)))

    def dump(self) -> dict[str, bytes]:
        state = {"family": self.family, "params": dict(self.params), "encoding": self.encoding.to_json()}
        weights = io.BytesIO()
        np.savez(weights, **{variable.path: np.asarray(variable) for variable in self.network.weights})  # type: ignore[arg-type]
        return {
            "network.json": json.dumps(state, ensure_ascii=False, allow_nan=False).encode(),
            "weights.npz": weights.getvalue(),
        }

    def importance(self) -> dict[str, float]:
        """Empty: a network has no gain to share out."""
        return {}


def import_keras() -> Any:
    """Keras without its backend's start-up messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with IMPORTING, nullcontext() if "keras" in sys.modules else _standard_error_closed():
        import keras
    return keras


def input_tensors(encoding: InputEncoding) -> dict[str, Any]:
    """The keras.Input tensors by name, as `Encoded.inputs` fills them."""
    keras = import_keras()
    tensors = {}
    if encoding.number_width:
        tensors["numbers"] = keras.Input((encoding.number_width,), name="numbers")
    if encoding.categories:
        tensors["categories"] = keras.Input((len(encoding.categories),), dtype="int32", name="categories")
    if encoding.sequence_numbers or encoding.sequence_categories:
        tensors["mask"] = keras.Input((None,), dtype="bool", name="mask")
    if encoding.sequence_numbers:
        shape = (None, len(encoding.sequence_numbers))
        tensors["sequence_numbers"] = keras.Input(shape, name="sequence_numbers")
    if encoding.sequence_categories:
        shape = (None, len(encoding.sequence_categories))
        tensors["sequence_categories"] = keras.Input(shape, dtype="int32", name="sequence_categories")
    return tensors


def embedded(categories: tuple[CategoryInput, ...], codes: Any, prefix: str) -> list[Any]:
    """One embedding a category from its codes, [..., categories] to a list of [..., width]."""
    layers = import_keras().layers
    return [
        layers.Embedding(category.codes, category.width, name=f"{prefix}_{place}")(codes[..., place])
        for place, category in enumerate(categories)
    ]


def joined(tensors: list[Any], name: str) -> Any:
    """The tensors side by side along their last axis."""
    return import_keras().layers.Concatenate(name=name)(tensors) if len(tensors) > 1 else tensors[0]


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """TensorFlow's C++ greets on descriptor 2 before it has read its log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _blank_encoding(train: Examples, steps: int) -> InputEncoding:
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


def _read(
    examples: Examples, encoding: InputEncoding, max_rows: int, draws: np.random.Generator
) -> tuple[Encoded, np.ndarray]:
    """At most `max_rows` rows, squashed, and their labels (float32 [rows])."""
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


def _fit_statistics(blank: InputEncoding, squashed: Encoded) -> InputEncoding:
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
    return _signed_log(_floats(column))[:, None]


def _floats(values: pa.Array) -> np.ndarray:
    """Float32 with NaN for NULL and the infinities."""
    floats = np.array(pc.fill_null(pc.cast(values, pa.float32()), np.nan).to_numpy(zero_copy_only=False))
    floats[~np.isfinite(floats)] = np.nan
    return floats


def _signed_log(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


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


def _train(
    network: Any,
    rows: Encoded,
    labels: np.ndarray,
    *,
    validate: tuple[Encoded, np.ndarray],
    params: Mapping[str, Any],
    weight: float,
    draws: np.random.Generator,
    progress: Progress,
) -> None:
    """AdamW with early stopping; leaves the best epoch's weights in the network."""
    keras = import_keras()
    rate = params["learning_rate"]
    optimiser = keras.optimizers.AdamW(rate, weight_decay=params["weight_decay"], global_clipnorm=1.0)
    optimiser.exclude_from_weight_decay(var_names=["bias"])
    network.compile(optimizer=optimiser, loss=keras.losses.BinaryCrossentropy(from_logits=True))
    logits = _compiled(network)
    validate_rows, validate_labels = validate
    best, kept, stale = np.inf, network.get_weights(), 0
    for epoch in range(params["epochs"]):
        progress("training", epoch / params["epochs"])
        optimiser.learning_rate = rate
        for chosen in _batches(rows.lengths, params["batch_size"], draws):
            truth = labels[chosen][:, None]
            weights = np.where(truth[:, 0] == 1, np.float32(weight), np.float32(1))
            network.train_on_batch(rows.inputs(chosen), truth, sample_weight=weights)
        loss = _log_loss(_all_logits(logits, validate_rows), validate_labels, weight)
        if loss < best:
            best, kept, stale = loss, network.get_weights(), 0
        else:
            stale, rate = stale + 1, rate * DECAY
        if stale >= params["patience"]:
            break
    network.set_weights(kept)
    progress("training", 1.0)


def _batches(lengths: np.ndarray, batch_size: int, draws: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of one epoch's batches, all of one size. Rows of like length go together: less padding."""
    size = min(batch_size, max(16, len(lengths) // LEAST_STEPS_PER_EPOCH), len(lengths))
    order = draws.permutation(len(lengths))[: len(lengths) // size * size]
    pools = [order[start : start + 16 * size] for start in range(0, len(order), 16 * size)]
    sorted_pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    batches = np.concatenate(sorted_pools).reshape(-1, size)
    yield from batches[draws.permutation(len(batches))]


def _compiled(network: Any) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """The network as a function of its inputs to logits, float32 [rows]; safe to call from several threads."""
    keras = import_keras()
    if keras.backend.backend() != "tensorflow":
        return lambda inputs: keras.ops.convert_to_numpy(network(inputs, training=False))[:, 0]
    import tensorflow as tf

    signature = {name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in network.input.items()}
    # One graph for every number of rows and steps: no new trace for a new size of batch.
    graph = tf.function(lambda inputs: network(inputs, training=False), input_signature=[signature])
    graph.get_concrete_function()
    return lambda inputs: graph({name: tf.constant(values) for name, values in inputs.items()}).numpy()[:, 0]


def _all_logits(logits: Callable[[dict[str, np.ndarray]], np.ndarray], rows: Encoded) -> np.ndarray:
    """The logits of all rows, float32 [rows], computed in pieces of like sequence length."""
    order = np.argsort(rows.lengths, kind="stable")
    values = np.empty(len(order), np.float32)
    for start in range(0, len(order), ROWS_PER_CALL):
        chosen = order[start : start + ROWS_PER_CALL]
        values[chosen] = logits(rows.inputs(chosen))
    return values


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return (1.0 / (1.0 + np.exp(-np.maximum(logits.astype(np.float64), LEAST_LOGIT)))).astype(np.float32)


def _log_odds(labels: np.ndarray, weight: float) -> float:
    """Of a true label among these, 1 added to both kinds: where the network's bias starts."""
    return float(np.log((labels.sum() * weight + 1) / ((1 - labels).sum() + 1)))


def _log_loss(logits: np.ndarray, labels: np.ndarray, weight: float) -> float:
    """Mean over the rows, a true label weighing `weight`."""
    margins = np.where(labels == 1, logits, -logits).astype(np.float64)
    return float(np.average(np.logaddexp(0.0, -margins), weights=np.where(labels == 1, weight, 1.0)))


def _set_weights(network: Any, content: bytes) -> None:
    """Raises ArtifactError where the arrays are not exactly the network's weights."""
    wanted = {variable.path: variable for variable in network.weights}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            sizes = {member.filename.removesuffix(".npy"): member for member in arrays.zip.infolist()}
            if set(sizes) != set(wanted):
                raise ArtifactError("the weights are not those of the network's layers; train anew")
            for path, variable in wanted.items():
                # A stored member just larger than its array: nothing grows as it is read.
                room = int(np.prod(variable.shape)) * 4 + 1024
                if sizes[path].compress_type != zipfile.ZIP_STORED or sizes[path].file_size > room:
                    raise ArtifactError(f"the weights of {path} are larger than the layer; train anew")
                values = arrays[path]
                if values.shape != tuple(variable.shape) or values.dtype != np.float32:
                    raise ArtifactError(f"the weights of {path} do not have the layer's shape; train anew")
                variable.assign(values)
    except (ValueError, KeyError, OSError, EOFError, MemoryError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError("the weights cannot be read; the artifact is damaged: train anew") from error
