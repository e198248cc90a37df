"""An artifact is one zip of bytes: the same model gives the same bytes, and bytes that were touched are refused."""

import io
import json
import zipfile
from collections.abc import Callable

import duckdb
import ibis
import numpy as np
import pytest
import xgboost

from ibis_features import ArtifactError, Examples, read_examples, read_schema
from models_ml.artifact import LIBRARIES, pack, read_manifest, sha256, unpack
from models_ml.trainer import TRAINERS, FittedModel, merged_params, trainer

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def examples() -> Examples:
    con = duckdb.connect()
    con.execute(
        "create table examples as select user_id, timestamp '2024-01-01' as as_of, user_id % 5 > 2 as label, "
        "(user_id % 5)::float as recency, chr(97 + (user_id % 3)::int) as city from range(200) as numbers(user_id)"
    )
    schema = read_schema(con, "examples", entity="user_id", label="label")
    return read_examples(ibis.duckdb.from_connection(con), "examples", schema)


@pytest.fixture(scope="module")
def fitted(examples: Examples) -> FittedModel:
    return _fit("xgboost", examples, {"n_estimators": 5})


@pytest.fixture(scope="module")
def blob(fitted: FittedModel) -> bytes:
    return pack("xgboost", fitted)


def test_an_unpacked_model_scores_as_the_one_that_was_packed(
    examples: Examples, fitted: FittedModel, blob: bytes
) -> None:
    batch = next(examples.batches())
    unpacked = unpack(blob, expected_sha256=sha256(blob))
    assert np.array_equal(unpacked.predict(batch), fitted.predict(batch))
    assert unpacked.schema == fitted.schema


def test_the_same_model_gives_the_same_bytes(examples: Examples, blob: bytes) -> None:
    assert pack("xgboost", _fit("xgboost", examples, {"n_estimators": 5})) == blob
    assert pack("xgboost", unpack(blob)) == blob


def test_a_network_survives_the_same_trip(examples: Examples) -> None:
    network = _fit("mlp", examples, {"units": 4, "epochs": 1})
    packed = pack("mlp", network)
    unpacked = unpack(packed)
    batch = next(examples.batches())
    assert np.array_equal(unpacked.predict(batch), network.predict(batch))
    assert pack("mlp", unpacked) == packed


def test_the_manifest_names_model_schema_parts_and_library_versions(fitted: FittedModel, blob: bytes) -> None:
    manifest = read_manifest(blob)
    assert (manifest.format, manifest.model, manifest.schema) == (1, "xgboost", fitted.schema)
    assert manifest.parts == {name: sha256(content) for name, content in fitted.dump().items()}
    assert manifest.libraries == {"xgboost": xgboost.__version__, "numpy": np.__version__}
    assert set(LIBRARIES) == set(TRAINERS)


def test_another_sha256_than_the_registered_one_is_refused(blob: bytes) -> None:
    with pytest.raises(ArtifactError, match="as registered; train the model anew"):
        unpack(blob, expected_sha256="0" * 64)


@pytest.mark.parametrize("damage", [b"", b"PK", b"not a zip at all" * 100])
def test_garbage_is_refused(damage: bytes) -> None:
    for read in (unpack, read_manifest):
        with pytest.raises(ArtifactError, match="not a whole zip"):
            read(damage)


def test_every_truncation_and_every_flipped_byte_is_refused_or_harmless(
    examples: Examples, fitted: FittedModel, blob: bytes
) -> None:
    batch = next(examples.batches())
    draws = np.random.default_rng(0)
    for length in draws.integers(0, len(blob), 40):
        with pytest.raises(ArtifactError):
            unpack(blob[:length])
    refused = 0
    for place in [*draws.integers(0, len(blob), 150), *range(len(blob) - 300, len(blob))]:
        flipped = bytearray(blob)
        flipped[place] ^= 0x41
        try:
            unpacked = unpack(bytes(flipped))
        except ArtifactError:
            refused += 1
        else:  # a timestamp, say, or a library's version
            assert np.array_equal(unpacked.predict(batch), fitted.predict(batch))
    assert refused > 200


def _changed_part(members: Members) -> None:
    members["parts/model.ubj"] = members["parts/model.ubj"].replace(b"learner", b"lerner!")


def _missing_part(members: Members) -> None:
    del members["parts/columns.json"]


def _extra_part(members: Members) -> None:
    members["parts/more.bin"] = b"x"


def _no_manifest(members: Members) -> None:
    del members["manifest.json"]


def _broken_manifest(members: Members) -> None:
    members["manifest.json"] = b"[1, 2"


def _nested_manifest(members: Members) -> None:
    members["manifest.json"] = b"[" * 100_000


def _other_format(members: Members) -> None:
    _edit(members, "format", 99)


def _other_model(members: Members) -> None:
    _edit(members, "model", "os.system")


def _other_family(members: Members) -> None:
    _edit(members, "model", "mlp")


def _no_schema(members: Members) -> None:
    _edit(members, "schema", {"entity": "user_id"})


def _climbing_path(members: Members) -> None:
    members["parts/../../evil.py"] = b"x"


def _absolute_path(members: Members) -> None:
    members["/etc/passwd"] = b"x"


def _edit(members: Members, key: str, value: object) -> None:
    members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), key: value}).encode()


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (_changed_part, "part model.ubj is not what was written"),
        (_missing_part, "parts are not those of its manifest .columns.json"),
        (_extra_part, "parts are not those of its manifest .more.bin"),
        (_no_manifest, "manifest cannot be read"),
        (_broken_manifest, "manifest cannot be read"),
        (_nested_manifest, "manifest cannot be read"),
        (_other_format, "has format 99, this version reads 1"),
        (_other_model, "holds a model 'os.system', known: xgboost, lightgbm, random_forest, logistic, mlp"),
        (_other_family, "a network consists of network.json, weights.npz"),
        (_no_schema, "manifest cannot be read"),
        (_climbing_path, "foreign or doubled members .parts/../../evil.py"),
        (_absolute_path, "foreign or doubled members ./etc/passwd"),
    ],
)
def test_what_pack_does_not_write_is_refused(blob: bytes, tamper: Callable[[Members], None], message: str) -> None:
    members = _members(blob)
    tamper(members)
    with pytest.raises(ArtifactError, match=message):
        unpack(_zipped(members))


def test_a_zip_that_would_grow_is_refused_before_it_does(blob: bytes) -> None:
    members = {**_members(blob), "parts/model.ubj": bytes(50_000_000)}
    bomb = _zipped(members, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 200_000
    with pytest.raises(ArtifactError, match="would grow"):
        unpack(bomb)


def test_a_member_that_stands_twice_is_refused(blob: bytes) -> None:
    buffer = io.BytesIO(blob)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("manifest.json", b"{}")
    with pytest.raises(ArtifactError, match="doubled"):
        unpack(buffer.getvalue())


def _fit(family: str, examples: Examples, params: dict[str, int]) -> FittedModel:
    return trainer(family).fit(
        examples,
        examples,
        params=merged_params(family, params),
        seed=1,
        class_weight=None,
        progress=lambda step, done: None,
    )


def _members(blob: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
