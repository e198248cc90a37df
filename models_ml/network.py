"""What all networks share: the training loop, prediction, weights in and out.

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
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ibis_features import ArtifactError, ConfigError, Examples, FeatureSchema
from models_ml.calibration import probabilities
from models_ml.inputs import CategoryInput, Encoded, InputEncoding, blank_encoding, fit_statistics, read_rows
from models_ml.integrated_gradients import IntegratedGradients
from models_ml.kinds import BINARY, Kind
from models_ml.losses import KINDS, Loss, loss_of
from models_ml.preconditions import Bounds, check_kind, check_params
from models_ml.threads import on_python_thread
from models_ml.trainer import Observe, Progress

ROWS_PER_CALL = 4096

LEAST_STEPS_PER_EPOCH = 32

LOSSES = ("log_loss", "focal")
LOSS_PARAMS: Mapping[str, Any] = {
    "loss": "log_loss",
    "gamma": 2.0,  # of the focal loss alone
}
TRAINING_BOUNDS: Bounds = {
    "dropout": (0.0, 0.9),
    "learning_rate": (1e-6, 1.0),
    "weight_decay": (0.0, 1.0),
    "batch_size": (1, 65_536),
    "epochs": (1, 1000),
    "patience": (1, 1000),
    "max_rows": (100, 10_000_000),
    "gamma": (0.0, 10.0),
}
"""Of the params that every network has."""

DECAY = 0.4
"""The learning rate is multiplied by this after every epoch that does not improve on the best one."""

PARTS = ("network.json", "weights.npz")

IMPORTING = threading.Lock()

BUILDING = threading.Lock()
"""keras.utils.set_random_seed sets global seeds, which the layers draw from as they are built: one at a time."""

Build = Callable[["InputEncoding", Mapping[str, Any]], Any]
"""Makes the untrained keras.Model for an encoding and params; its output is the logit, [rows, 1]."""


@dataclass(frozen=True)
class NetworkFamily:
    """A family of networks: its module offers this `fit` and this `load` as its own.

    check_schema: raises ConfigError where the features are not those that the family reads.
    """

    name: str
    build: Build
    bounds: Bounds
    check_schema: Callable[[str, FeatureSchema], None]

    def fit(
        self,
        train: Examples,
        validate: Examples,
        *,
        params: Mapping[str, Any],
        seed: int,
        class_weight: str | None,
        kind: Kind = BINARY,
        progress: Progress,
        observe: Observe | None = None,
        start: "NetworkModel | None" = None,
    ) -> "NetworkModel":
        """Train until the loss on `validate` has not fallen for `patience` epochs; keep the best epoch's weights.

        The sequences of a row, where it has any, have to be equally long (NULL is empty); the newest step stands last.
        With params.loss 'focal' the loss is the focal one of Lin et al., "Focal loss for dense object detection", 2017:
        rows that are scored well weigh less, and scores are no probabilities until they are calibrated.

        Where there are more than `max_rows` training rows, a seeded sample of that size trains. The encoded rows are
        held in memory. With `start` the training goes on from its weights, in its encoding. Raises ConfigError and
        ExamplesError as `check_schema`, `check_params` and `positive_weight` do.
        """
        self.check_schema(self.name, train.schema)
        _check_loss(self.name, params, self.bounds)
        check_kind(self.name, kind.name, KINDS)
        weight = kind.row_weight(train, validate, class_weight)
        progress("reading", 0.0)
        keras = import_keras()
        draws = np.random.default_rng(seed)
        blank = start.encoding if start else blank_encoding(train, steps=params.get("max_length", 0))
        squashed, labels = read_rows(train, blank, params["max_rows"], draws)
        encoding = start.encoding if start else fit_statistics(blank, squashed)
        rows = encoding.standardise(squashed)
        validate_rows, validate_labels = read_rows(validate, encoding, params["max_rows"], draws)
        loss = loss_of(kind, labels, params, weight)
        with BUILDING:
            keras.utils.set_random_seed(seed)
            network = self.build(encoding, params)
        if start:
            network.set_weights(start.network.get_weights())
            _rescale(network, 1 / loss.scale, -loss.centre / loss.scale)
        else:
            network.get_layer("logit").bias.assign([loss.start])
        _train(
            network,
            rows,
            labels,
            validate=(encoding.standardise(validate_rows), validate_labels),
            params=params,
            loss=loss,
            draws=draws,
            progress=progress,
            observe=observe,
            is_start_kept=start is not None,
        )
        _rescale(network, loss.scale, loss.centre)
        return NetworkModel(self.name, network, encoding, params, train.schema)

    def load(self, parts: Mapping[str, bytes], schema: FeatureSchema) -> "NetworkModel":
        """Build a fitted network from the parts of its `dump`; raises ArtifactError where they do not fit."""
        return on_python_thread(lambda: self._load(parts, schema))

    def _load(self, parts: Mapping[str, bytes], schema: FeatureSchema) -> "NetworkModel":
        if set(parts) != set(PARTS):
            raise ArtifactError(
                f"a network consists of {', '.join(PARTS)}, found {', '.join(parts) or 'nothing'}; train anew"
            )
        try:
            state = json.loads(parts["network.json"])
            encoding, params = InputEncoding.from_json(state["encoding"]), dict(state["params"])
            for name, value in LOSS_PARAMS.items():  # an artifact of before there was a choice
                params.setdefault(name, value)
            _check_loss(self.name, params, self.bounds)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError("the network's settings cannot be read; the artifact is damaged: train anew") from error
        if state.get("family") != self.name or sorted(encoding.features) != sorted(schema.names):
            raise ArtifactError(f"the network is not a {self.name} over the columns of the feature schema; train anew")
        with BUILDING:
            network = self.build(encoding, params)
        _set_weights(network, parts["weights.npz"])
        return NetworkModel(self.name, network, encoding, params, schema)


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
        return probabilities(self.margin(batch).astype(np.float64))

    def margin(self, batch: pa.RecordBatch) -> np.ndarray:
        """The log-odds of a true label, float32 [rows]."""
        if not batch.num_rows:
            return np.empty(0, np.float32)
        return on_python_thread(lambda: _all_logits(self._logits, self.encoding.encode(batch)))

    def contributions(self, batch: pa.RecordBatch) -> np.ndarray:
        """Integrated gradients in log-odds, float64 [rows, features]; with `base_log_odds` they add up to the logit."""
        return on_python_thread(lambda: self._gradients.contributions(self.encoding.encode(batch)))

    @property
    def tells_contributions(self) -> bool:
        return import_keras().backend.backend() == "tensorflow"

    @cached_property
    def base_log_odds(self) -> float:
        """Of the middle row: numbers at their mean, nothing missing, the most frequent categories, no sequence."""
        return on_python_thread(lambda: self._gradients.base)

    @cached_property
    def _gradients(self) -> IntegratedGradients:
        with BUILDING:
            return IntegratedGradients(self.family, self.network, self.encoding, self.schema.names)

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


def _check_loss(family: str, params: Mapping[str, Any], bounds: Bounds) -> None:
    check_params(family, params, bounds)
    if params["loss"] not in LOSSES:
        raise ConfigError(f"unknown params.loss {params['loss']!r} for '{family}'; known: {', '.join(LOSSES)}")


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


def _train(
    network: Any,
    rows: Encoded,
    labels: np.ndarray,
    *,
    validate: tuple[Encoded, np.ndarray],
    params: Mapping[str, Any],
    loss: Loss,
    draws: np.random.Generator,
    progress: Progress,
    observe: Observe | None,
    is_start_kept: bool,
) -> None:
    """AdamW with early stopping; leaves the best epoch's weights in the network.

    With `is_start_kept` those that it came with stay where no epoch is better.
    """
    keras = import_keras()
    rate = params["learning_rate"]
    optimiser = keras.optimizers.AdamW(rate, weight_decay=params["weight_decay"], global_clipnorm=1.0)
    optimiser.exclude_from_weight_decay(var_names=["bias"])
    network.compile(
        optimizer=optimiser, loss=lambda truth, margins: loss.of_rows(keras.ops, truth[:, 0], margins[:, 0])
    )
    logits = _compiled(network)
    validate_rows, validate_labels = validate
    best, kept, stale = np.inf, network.get_weights(), 0
    if is_start_kept:
        best = loss.mean(_all_logits(logits, validate_rows), validate_labels)
    for epoch in range(params["epochs"]):
        progress("training", epoch / params["epochs"])
        optimiser.learning_rate = rate
        for chosen in _batches(rows.lengths, params["batch_size"], draws):
            weights = loss.weights(labels[chosen])
            network.train_on_batch(rows.inputs(chosen), labels[chosen][:, None], sample_weight=weights)
        value = loss.mean(_all_logits(logits, validate_rows), validate_labels)
        if observe is not None:
            observe(epoch, value)
        if value < best:
            best, kept, stale = value, network.get_weights(), 0
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


def _rescale(network: Any, scale: float, centre: float) -> None:
    """Let every margin be `centre + scale * margin`: the last layer is linear."""
    if (scale, centre) != (1.0, 0.0):
        last = network.get_layer("logit")
        last.kernel.assign(last.kernel * scale)
        last.bias.assign(last.bias * scale + centre)


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
