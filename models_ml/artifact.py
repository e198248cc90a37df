"""A fitted model as one zip of bytes: a manifest and the model's parts, each under its sha256. No pickle.

The bytes lie in the warehouse as a BLOB. The same model gives the same bytes.
"""

import hashlib
import io
import json
import re
import struct
import zipfile
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

from ibis_features import ArtifactError, FeatureSchema
from models_ml.calibration import PART as CALIBRATION
from models_ml.calibration import with_calibration
from models_ml.class_trees import PART as CLASSES
from models_ml.class_trees import with_classes
from models_ml.ensemble import load_ensemble
from models_ml.interactions import PART as INTERACTIONS
from models_ml.interactions import crossed, read_interactions, widened
from models_ml.links import PART as LINK
from models_ml.links import with_link
from models_ml.trainer import TRAINERS, FittedModel, families, trainer

FORMAT = 1
MANIFEST = "manifest.json"
PART_NAME = re.compile(r"[a-z0-9_]+\.[a-z0-9]+")
LIBRARIES = {
    "xgboost": ("xgboost", "numpy"),
    "lightgbm": ("lightgbm", "numpy"),
    "random_forest": ("scikit-learn", "numpy"),
    "logistic": ("numpy", "scipy"),
    "mlp": ("keras", "numpy"),
    "lstm": ("keras", "numpy"),
    "transformer": ("keras", "numpy"),
}
"""The distributions whose versions the manifest records, by model family."""
REMEDY = "train the model anew (`retrain: always`), or roll back to a version that is whole"


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself. `parts` gives each part's sha256, `libraries` the versions that wrote it."""

    format: int
    model: str
    schema: FeatureSchema
    parts: dict[str, str]
    libraries: dict[str, str]


def pack(model_name: str, fitted: FittedModel) -> bytes:
    """The fitted model as one stored zip; the same model gives the same bytes.

    model_name: its family, or those of an ensemble's members, `xgboost + mlp`.
    """
    parts = fitted.dump()
    manifest = {
        "format": FORMAT,
        "model": model_name,
        "schema": fitted.schema.to_json(),
        "parts": {name: sha256(content) for name, content in sorted(parts.items())},
        "libraries": {name: version_of(name) for name in libraries_of(model_name)},
    }
    members = {MANIFEST: json.dumps(manifest, ensure_ascii=False, indent=1).encode()}
    members |= {f"parts/{name}": content for name, content in sorted(parts.items())}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in members.items():
            member = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # the same bytes on Windows
            archive.writestr(member, content)
    return buffer.getvalue()


def libraries_of(model_name: str) -> tuple[str, ...]:
    """The libraries that a model's families rest on, each once."""
    return tuple(dict.fromkeys(library for family in families(model_name) for library in LIBRARIES[family]))


def sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def unpack(blob: bytes, *, expected_sha256: str | None = None) -> FittedModel:
    """Build the fitted model from the bytes of `pack`.

    Raises ArtifactError where the bytes have another sha256, are damaged, hold anything that the manifest does not
    name, or come from a model family or format that this version does not know.
    """
    if expected_sha256 is not None and sha256(blob) != expected_sha256:
        raise ArtifactError(f"the artifact's sha256 is {sha256(blob)}, not {expected_sha256} as registered; {REMEDY}")
    contents = _members(blob)
    manifest = _manifest(contents)
    parts = {path.removeprefix("parts/"): content for path, content in contents.items() if path != MANIFEST}
    if set(parts) != set(manifest.parts):
        odd = ", ".join(sorted(set(parts) ^ set(manifest.parts)))
        raise ArtifactError(f"the artifact's parts are not those of its manifest ({odd}); {REMEDY}")
    for name, content in parts.items():
        if sha256(content) != manifest.parts[name]:
            raise ArtifactError(f"the artifact's part {name} is not what was written; {REMEDY}")
    calibration, link, classes = (parts.pop(name, None) for name in (CALIBRATION, LINK, CLASSES))
    pairs = read_interactions(parts.pop(INTERACTIONS), manifest.schema) if INTERACTIONS in parts else ()
    schema, members = widened(manifest.schema, pairs), families(manifest.model)
    model = load_ensemble(members, parts, schema) if len(members) > 1 else trainer(members[0]).load(parts, schema)
    if classes is not None:
        model = with_classes(model, classes)
    fitted = crossed(model, pairs, manifest.schema)
    if link is not None:
        return with_link(fitted, link)
    return fitted if calibration is None else with_calibration(fitted, calibration)


def read_manifest(blob: bytes) -> Manifest:
    """What the artifact says of itself, without building the model; raises ArtifactError as `unpack` does."""
    return _manifest(_members(blob))


def _members(blob: bytes) -> dict[str, bytes]:
    """The zip's contents. Only stored members are read, so nothing grows beyond the bytes at hand."""
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            odd = [name for name in names if name != MANIFEST and not _is_part(name)]
            if odd or len(set(names)) != len(names):
                raise ArtifactError(f"the artifact holds foreign or doubled members ({', '.join(odd)}); {REMEDY}")
            packed = any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members)
            if packed or sum(member.file_size for member in members) > len(blob):
                raise ArtifactError(f"the artifact would grow when it is read, as pack never writes it; {REMEDY}")
            return {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, struct.error, ValueError, RuntimeError, EOFError, OSError, OverflowError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"the artifact is not a whole zip ({len(blob):,} bytes); {REMEDY}") from error


def _is_part(path: str) -> bool:
    return path.startswith("parts/") and PART_NAME.fullmatch(path.removeprefix("parts/")) is not None


def _manifest(members: dict[str, bytes]) -> Manifest:
    try:
        state: dict[str, Any] = json.loads(members[MANIFEST])
        if state["format"] != FORMAT:
            raise ArtifactError(
                f"the artifact has format {state['format']!r}, this version reads {FORMAT}; "
                "install the foretable that wrote it, or train the model anew"
            )
        if not set(families(state["model"])) <= set(TRAINERS):
            raise ArtifactError(
                f"the artifact holds a model '{state['model']}', known: {', '.join(TRAINERS)}; "
                "install the foretable that wrote it, or train the model anew"
            )
        schema = FeatureSchema.from_json(state["schema"])
        return Manifest(state["format"], state["model"], schema, dict(state["parts"]), dict(state["libraries"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"the artifact's manifest cannot be read; {REMEDY}") from error
