"""Integrated gradients of a network: what each feature of a row adds to its log-odds.

Source: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", https://arxiv.org/abs/1703.01365.

The path leads straight from a middle row to the row at hand. The middle row has every number at the training rows'
mean of its squashed values, nothing missing, every category at its most frequent value, and no step in its sequences.
Numbers move as they are standardised, categories as their embeddings.

A sequence cannot grow bit by bit. So the middle row first gets as many steps as the row has, each of them a middle one;
what that alone does to the log-odds is shared alike among the sequences. From there the path goes on straight.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from models_ml.inputs import FIRST_KNOWN, NULL, UNKNOWN, CategoryInput, Encoded, InputEncoding

ROWS_PER_CALL = 1024
POINTS = 32
"""How many points on the path gradients are taken at. What their sum misses over a network with kinks is spread over
the features by the size of their contributions: they add up to 1e-4."""
POINTS_OF: Mapping[str, int] = {"transformer": 64}
"""Of a family whose slopes change more along the path: attention and normalisation bend them."""

Inputs = dict[str, np.ndarray]


class IntegratedGradients:
    """Contributions of one network, on TensorFlow."""

    def __init__(self, family: str, network: Any, encoding: InputEncoding, features: Sequence[str]) -> None:
        self.encoding = encoding
        # Gauss-Legendre: places from -1 to 1, and what each weighs, 2 in all.
        self.points, self.weights = np.polynomial.legendre.leggauss(POINTS_OF.get(family, POINTS))
        self.places = {feature: place for place, feature in enumerate(features)}
        layers = [*self._names("category"), *self._names("step")]
        self.embeddings = {name: np.asarray(network.get_layer(name).embeddings) for name in layers}
        self.moving = [*(["numbers"] if encoding.number_width else []), *self._names("category")]
        self.moving += [*(["sequence_numbers"] if encoding.sequence_numbers else []), *self._names("step")]
        self._gradients = _gradients_of(network, self.moving, has_mask=self.has_sequences)
        self.base = float(self._gradients(self._middle(1, 1), np.zeros((1, 1), bool))[0][0])

    @property
    def has_sequences(self) -> bool:
        return bool(self.encoding.sequence_numbers or self.encoding.sequence_categories)

    def contributions(self, rows: Encoded) -> np.ndarray:
        """Float64 [rows, features]; with `base` they add up to the logits."""
        out = np.zeros((len(rows.lengths), len(self.places)))
        order = np.argsort(rows.lengths, kind="stable")
        for start in range(0, len(order), ROWS_PER_CALL):
            chosen = order[start : start + ROWS_PER_CALL]
            out[chosen] = self._of_some(rows.inputs(chosen))
        return out

    def _of_some(self, inputs: Inputs) -> np.ndarray:
        ends = {name: self._end(name, inputs) for name in self.moving}
        rows = len(next(iter(ends.values())))
        mask = inputs.get("mask", np.zeros((rows, 1), bool))
        starts = self._middle(rows, mask.shape[1])
        ways = {name: (ends[name] - starts[name]).astype(np.float64) for name in self.moving}
        slopes = {name: np.zeros_like(way) for name, way in ways.items()}
        for point, weight in zip((self.points + 1) / 2, self.weights / 2, strict=True):
            between = {name: (starts[name] + point * ways[name]).astype(np.float32) for name in self.moving}
            for name, slope in zip(self.moving, self._gradients(between, mask)[1], strict=True):
                slopes[name] += weight * slope
        out = np.zeros((rows, len(self.places)))
        for name in self.moving:
            self._add(out, name, ways[name] * slopes[name])
        if self.has_sequences:
            steps_alone = self._gradients(starts, mask)[0] - self.base
            sequences = [self.places[one.feature] for one in self._sequences()]
            out[:, sequences] += (steps_alone / len(sequences))[:, None]
        return _adding_up(out, self._gradients(ends, mask)[0] - self.base)

    def _middle(self, rows: int, steps: int) -> Inputs:
        """The middle row, repeated, with so many middle steps."""
        starts: Inputs = {}
        for name in self.moving:
            if name == "numbers":
                starts[name] = np.zeros((rows, self.encoding.number_width), np.float32)
            elif name == "sequence_numbers":
                starts[name] = np.zeros((rows, steps, len(self.encoding.sequence_numbers)), np.float32)
            else:
                code = FIRST_KNOWN if self._category(name).vocabulary else UNKNOWN if name.startswith("step") else NULL
                shape = (rows, steps, 1) if name.startswith("step") else (rows, 1)
                starts[name] = np.tile(self.embeddings[name][code], shape)
        return starts

    def _end(self, name: str, inputs: Inputs) -> np.ndarray:
        if name in inputs:
            return inputs[name]
        kind, place = name.rsplit("_", 1)
        codes = inputs["sequence_categories" if kind == "step" else "categories"]
        return self.embeddings[name][codes[..., int(place)]]

    def _add(self, out: np.ndarray, name: str, moved: np.ndarray) -> None:
        """Sum up what an input adds by feature: positions and indicators of a number, the steps of a sequence."""
        if name == "numbers":
            np.add.at(out.T, [self.places[feature] for feature in self.encoding.number_features], moved.T)
        elif name == "sequence_numbers":
            out[:, [self.places[one.feature] for one in self.encoding.sequence_numbers]] += moved.sum(axis=1)
        else:
            out[:, self.places[self._category(name).feature]] += moved.reshape(len(out), -1).sum(axis=1)

    def _names(self, kind: str) -> list[str]:
        """The embedding layers, as `models_ml.network.embedded` names them."""
        return [f"{kind}_{place}" for place in range(len(self._categories(kind)))]

    def _category(self, name: str) -> CategoryInput:
        kind, place = name.rsplit("_", 1)
        return self._categories(kind)[int(place)]

    def _categories(self, kind: str) -> tuple[CategoryInput, ...]:
        return self.encoding.sequence_categories if kind == "step" else self.encoding.categories

    def _sequences(self) -> Sequence[Any]:
        return (*self.encoding.sequence_numbers, *self.encoding.sequence_categories)


def _adding_up(contributions: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The contributions with what is missing from `whole` ([rows]) spread by their size."""
    sizes = np.abs(contributions)
    missing = whole - contributions.sum(axis=1)
    total = sizes.sum(axis=1)
    return contributions + sizes * np.divide(missing, total, out=np.zeros_like(missing), where=total > 0)[:, None]


def _gradients_of(
    network: Any, moving: Sequence[str], *, has_mask: bool
) -> Callable[[Mapping[str, np.ndarray], np.ndarray], tuple[np.ndarray, list[np.ndarray]]]:
    """From the inputs as numbers, and the mask, to the logits, float64 [rows], and their slopes by each input."""
    import keras
    import tensorflow as tf

    tensors = [network.input[name] if name in network.input else network.get_layer(name).output for name in moving]
    tail = keras.Model([*tensors, *([network.input["mask"]] if has_mask else [])], network.output)

    def slopes(inputs: list[Any], mask: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            logits = tail([*inputs, *([mask] if has_mask else [])], training=False)
        return logits[:, 0], tape.gradient(logits, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    signature = [[tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors], tf.TensorSpec((None, None), "bool")]
    graph = tf.function(slopes, input_signature=signature)

    def called(inputs: Mapping[str, np.ndarray], mask: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        logits, gradients = graph([tf.constant(inputs[name]) for name in moving], tf.constant(mask))
        return logits.numpy().astype(np.float64), [gradient.numpy() for gradient in gradients]

    return called
