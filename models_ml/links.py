"""From a model's margin to a number that is no probability: the margin itself, or its exponential.

Source: McCullagh and Nelder, "Generalized Linear Models", 2nd edition, 1989, section 2.2.
"""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ibis_features import ArtifactError
from models_ml.score_map import MappedModel
from models_ml.trainer import FittedModel

PART = "link.json"
NAMES = ("identity", "exp")
MOST_LOG = 80.0
"""A logarithm ends here, so that its exponential is a float32."""


@dataclass(frozen=True)
class Link:
    """A score map. name: 'identity', or 'exp' where margins are logarithms of scores."""

    name: str

    @property
    def part(self) -> str:
        return PART

    def scores(self, margin: np.ndarray) -> np.ndarray:
        """Scores, float32 [rows], of margins, float32 [rows]."""
        if self.name == "identity":
            return margin
        # Arrow's exp is the C library's, as DuckDB's is; numpy's own differs from it in the last bit on some machines.
        return pc.exp(pa.array(np.minimum(margin.astype(np.float64), MOST_LOG))).to_numpy().astype(np.float32)

    def dump(self) -> bytes:
        return json.dumps({"link": self.name}).encode()


IDENTITY, EXP = (Link(name) for name in NAMES)


def linked(fitted: FittedModel, link: Link) -> MappedModel:
    """The model whose score is its margin as the link has it."""
    return MappedModel(fitted, link)


def with_link(fitted: FittedModel, content: bytes) -> MappedModel:
    """The model with the link of its artifact; raises ArtifactError where that is none."""
    try:
        name = json.loads(content)["link"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError("the link cannot be read; the artifact is damaged: train anew") from error
    if name not in NAMES:
        raise ArtifactError(f"the artifact has a link {name!r}, known: {', '.join(NAMES)}; train anew")
    return linked(fitted, Link(name))
