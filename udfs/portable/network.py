"""A multilayer perceptron as SQL: one column a unit, one or two steps a layer, computed in doubles."""

import numpy as np
from sqlglot import exp

from ibis_features import ArtifactError
from models_ml.inputs import CLIP, FIRST_KNOWN, NULL, UNKNOWN, InputEncoding
from models_ml.network import NetworkModel
from udfs.portable.dialects import Dialect
from udfs.portable.formula import Formula, Step, clipped, code, feature_of, number, shallow_total, times, whole


def formula(model: NetworkModel, dialect: Dialect, prefix: str) -> Formula:
    """The logit; dropout does nothing once a network is trained."""
    if not all(np.isfinite(np.asarray(weights)).all() for weights in model.network.weights):
        raise ArtifactError("a weight of the network is not finite; train it anew with a lower params.learning_rate")
    steps, inputs = _inputs(model, dialect, prefix)
    for layer in range(model.params["layers"]):
        sums = [f"{prefix}sum_{layer}_{unit}" for unit in range(_kernel(model, f"dense_{layer}")[1].shape[0])]
        relu = [f"{prefix}unit_{layer}_{unit}" for unit in range(len(sums))]
        steps.append(_dense(model, f"dense_{layer}", inputs, sums, dialect))
        steps.append({name: _relu(of, dialect) for name, of in zip(relu, sums, strict=True)})
        inputs = relu
    return Formula(tuple(steps), "").then(_dense(model, "logit", inputs, [f"{prefix}margin"], dialect))


def _inputs(model: NetworkModel, dialect: Dialect, prefix: str) -> tuple[list[Step], list[str]]:
    """The steps that make the inputs of the first layer, and their names in its order."""
    encoding = model.encoding
    raw: dict[str, exp.Expression] = {}
    squashed: dict[str, exp.Expression] = {}
    scaled: dict[str, exp.Expression] = {}
    inputs: dict[str, exp.Expression] = {}
    for place, known in enumerate(encoding.numbers):
        name = f"{prefix}number_{place}"
        raw[f"{name}_raw"] = number(feature_of(model.schema, known.feature), dialect)
        squashed[f"{name}_log"] = _signed_log(f"{name}_raw", dialect)
        [mean], [scale] = known.mean, known.scale
        difference = exp.Sub(this=exp.column(f"{name}_log"), expression=dialect.number(np.float32(mean)))
        scaled[f"{name}_scaled"] = exp.Mul(this=exp.paren(difference), expression=dialect.number(np.float32(scale)))
        inputs[name] = exp.Coalesce(
            this=clipped(f"{name}_scaled", -CLIP, CLIP, dialect), expressions=[dialect.number(0.0)]
        )
    for place, known in enumerate(encoding.numbers):
        if known.has_indicator:
            is_missing = exp.Is(this=exp.column(f"{prefix}number_{place}_raw"), expression=exp.Null())
            flag = exp.If(this=is_missing, true=dialect.number(1.0), false=dialect.number(0.0))
            inputs[f"{prefix}missing_{place}"] = flag
    for place in range(len(encoding.categories)):
        codes, embedded = _embedded(model, encoding, place, dialect, prefix)
        raw |= codes
        inputs |= embedded
    return [raw, squashed, scaled, inputs], list(inputs)


def _embedded(
    model: NetworkModel, encoding: InputEncoding, place: int, dialect: Dialect, prefix: str
) -> tuple[Step, Step]:
    category = encoding.categories[place]
    feature, name = feature_of(model.schema, category.feature), f"{prefix}category_{place}"
    is_null = exp.Is(this=dialect.column(feature.name), expression=exp.Null())
    known = exp.Coalesce(
        this=code(feature, category.vocabulary, dialect, first=FIRST_KNOWN), expressions=[whole(UNKNOWN)]
    )
    codes = exp.If(this=is_null, true=whole(NULL), false=known)
    table = np.asarray(model.network.get_layer(f"category_{place}").embeddings)  # [codes, width]
    columns = {}
    for position in range(table.shape[1]):
        values = [exp.If(this=whole(at), true=dialect.number(v)) for at, v in enumerate(table[:, position])]
        chosen = exp.Case(this=exp.column(f"{name}_code"), ifs=values)
        columns[f"{name}_{position}"] = exp.cast(chosen, "double")
    return {f"{name}_code": codes}, columns


def _signed_log(column: str, dialect: Dialect) -> exp.Expression:
    one = dialect.number(1.0)
    is_below = exp.LT(this=exp.column(column), expression=dialect.number(0.0))
    below = exp.Neg(this=exp.Ln(this=exp.Sub(this=one, expression=exp.column(column))))
    above = exp.Ln(this=exp.Add(this=one.copy(), expression=exp.column(column)))
    return exp.If(this=is_below, true=below, false=above)


def _relu(column: str, dialect: Dialect) -> exp.Expression:
    is_above = exp.GT(this=exp.column(column), expression=dialect.number(0.0))
    return exp.If(this=is_above, true=exp.column(column), false=dialect.number(0.0))


def _dense(model: NetworkModel, layer: str, inputs: list[str], outputs: list[str], dialect: Dialect) -> Step:
    """`inputs @ kernel + bias`, a column each."""
    kernel, bias = _kernel(model, layer)
    return {
        name: shallow_total(
            [dialect.number(bias[unit])]
            + [times(of, dialect.number(weight)) for of, weight in zip(inputs, kernel[:, unit], strict=True)]
        )
        for unit, name in enumerate(outputs)
    }


def _kernel(model: NetworkModel, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights [inputs, outputs] and bias [outputs]."""
    found = model.network.get_layer(layer)
    return np.asarray(found.kernel), np.asarray(found.bias)
