"""The reader of raw text files: every record comes out once, whatever is broken around it."""

import gzip
import io
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import run_dbt
from udfs import csv_records, json_lines, log_window
from udfs.log_files import ColumnNames, csv_tables, json_tables, land, register_reader

CONTRACT = ["user_id", "event_type", "occurred_at"]
HEADER = b"user_id,event_type,occurred_at\n"
LINE = b"u1,view,2025-01-01\n"
Rows = list[dict[str, str | None]]


def rows_of(tables: list[pa.Table]) -> Rows:
    """The cells of all rows that are not NULL."""
    return [
        {name: cell for name, cell in row.items() if cell is not None} for table in tables for row in table.to_pylist()
    ]


def read_csv(data: bytes) -> Rows:
    return rows_of(list(csv_tables(io.BytesIO(data), ColumnNames(CONTRACT), "events.csv")))


def read_json(data: bytes) -> Rows:
    return rows_of(list(json_tables(io.BytesIO(data), ColumnNames(CONTRACT), "events.jsonl")))


def users(rows: Rows) -> list[str | None]:
    return [row.get("user_id") for row in rows if "rejection_reason" not in row]


def texts(rows: Rows) -> list[str | None]:
    return [row["raw_text"] for row in rows if row.get("rejection_reason") == "malformed_line"]


@pytest.fixture(params=[7, 100, 8 << 20], ids=lambda size: f"chunks of {size}")
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(log_window, "CHUNK_BYTES", request.param)
    return request.param


@pytest.mark.usefixtures("chunks")
def test_a_value_of_many_lines_is_one_value_wherever_the_chunks_end() -> None:
    value = LINE * 20
    rows = read_csv(HEADER + (b'"' + value + b'",view,2025-01-01\n') * 9)
    assert users(rows) == [value.decode()] * 9
    assert texts(rows) == []


@pytest.mark.usefixtures("chunks")
def test_a_quote_that_never_closes_costs_its_own_line_alone() -> None:
    rows = read_csv(HEADER + LINE + b'u2,"view,2025-01-01\n' + LINE * 50)
    assert texts(rows) == ['u2,"view,2025-01-01']
    assert users(rows) == ["u1"] * 51


@pytest.mark.usefixtures("chunks")
def test_line_endings_may_be_mixed_and_those_within_quotes_stay_as_they_are() -> None:
    rows = read_csv(HEADER + b'u1,view,a\r\nu2,view,b\n"u\r\n3",view,c\ru4,view,d')
    assert users(rows) == ["u1", "u2", "u\r\n3", "u4"]


@pytest.mark.usefixtures("chunks")
def test_bytes_that_are_no_utf8_cost_their_own_line_and_are_shown() -> None:
    rows = read_csv(HEADER + LINE + b"u\xff2,view,2025-01-01\n" + LINE)
    assert users(rows) == ["u1", "u1"]
    assert texts(rows) == ["u\\xff2,view,2025-01-01"]


@pytest.mark.usefixtures("chunks")
def test_a_record_of_another_width_is_rejected_unless_only_empty_values_follow() -> None:
    rows = read_csv(HEADER + b"u1,view\nu2,view,a,,\nu3,view,a,b\n" + b'"u4"x,view,a\n')
    assert users(rows) == ["u2"]
    assert texts(rows) == ['"u4"x,view,a', "u1,view", "u3,view,a,b"]


def test_a_byte_order_mark_belongs_to_the_file_at_its_beginning_only() -> None:
    mark = b"\xef\xbb\xbf"
    assert users(read_csv(mark + HEADER + mark + LINE)) == ["\ufeffu1"]


def test_a_line_that_is_too_long_to_be_kept_keeps_its_beginning_and_the_rest_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_window, "CHUNK_BYTES", 100)
    for module in (log_window, csv_records, json_lines):
        monkeypatch.setattr(module, "RECORD_BYTES", 1600)
    for read, lines in ((read_csv, (HEADER, LINE)), (read_json, (b"", b'{"user_id": "u1"}\n'))):
        rows = read(lines[0] + lines[1] + b"x" * 5000 + b"\n" + lines[1])
        assert users(rows) == ["u1", "u1"]
        [text] = texts(rows)
        assert text == "x" * 100 + "… (5001 bytes)"


def test_a_quote_is_not_awaited_for_longer_than_a_record_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_window, "CHUNK_BYTES", 100)
    for module in (log_window, csv_records, json_lines):
        monkeypatch.setattr(module, "RECORD_BYTES", 1600)
    rows = read_csv(HEADER + b'"u2\n' + LINE * 1000 + b'"\n')
    assert len(users(rows)) == 1000
    assert texts(rows) == ['"u2', '"']


@pytest.mark.usefixtures("chunks")
def test_json_keeps_numbers_as_they_are_written() -> None:
    rows = read_json(b'{"user_id": 12345678901234567890123, "price": 12.50, "more": {"a": [1.10, null]}, "ok": true}\n')
    assert rows == [
        {"user_id": "12345678901234567890123", "price": "12.50", "more": '{"a": [1.10, null]}', "ok": "true"}
    ]


@pytest.mark.usefixtures("chunks")
def test_a_json_line_that_is_no_plain_object_is_rejected() -> None:
    broken = [
        '{"user_id": "u", "user_id": "v"}',
        '{"user_id": "u", "USER_ID": "v"}',
        "[1]",
        '{"user_id": "u"',
        '{"user_id": "\\ud800"}',
        '{"x": ' + "[" * 3000 + "]" * 3000 + "}",
        "NULL",
        '{"user_id": "u",}',
    ]
    rows = read_json("\n".join([*broken, "", "  ", '{"User_Id": "u1"}', "{}"]).encode())
    assert texts(rows) == broken
    assert users(rows) == ["u1", None]


def test_a_nested_value_of_a_contract_column_is_rejected_under_its_own_reason() -> None:
    rows = read_json(b'{"user_id": {"a": 1}}\n')
    assert rows == [{"rejection_reason": "nested_value", "raw_text": '{"user_id": {"a": 1}}'}]


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("events.csv", b"", "is empty"),
        ("events.csv", b"\n\r\n", "is empty"),
        ("events.jsonl", b"\n \n", "is empty"),
        ("events.csv", HEADER.decode().encode("utf-16"), "is UTF-16, and only UTF-8 is read; convert it: iconv"),
        ("events.csv", HEADER.decode().encode("utf-16-le"), "NUL bytes, as in UTF-16"),
        ("events.csv", b'"user_id,event_type\n' + LINE, "a quote of the first line is out of place"),
        ("events.csv", b"user_id,USER_ID\n1,2\n", "names the column user_id twice (user_id, USER_ID)"),
        ("events.csv", b"user_id,\xff\n1,2\n", "the first line is no UTF-8"),
        ("events.csv", b"user_id," + b",".join(b"c%d" % n for n in range(1001)), "more than 1000 columns"),
        ("events.csv.gz", gzip.compress(HEADER + LINE, mtime=0)[:-9], "cannot be unpacked"),
        ("events.csv.gz", HEADER, "cannot be unpacked"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, sentence: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / name).write_bytes(data)
    with duckdb.connect() as con:
        register_reader(con)
        answer = con.execute("select foretable_read_log([?], ?)", [str(tmp_path / name), CONTRACT]).fetchone()
    assert answer
    assert answer[0]["folder"] is None
    assert name in answer[0]["error"]
    assert sentence in answer[0]["error"]
    assert [file.name for file in tmp_path.iterdir()] == [name], "something was left behind"


def test_the_copy_of_a_log_is_there_until_it_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes(HEADER + LINE)
    with duckdb.connect() as con:
        register_reader(con)
        [answer] = con.execute("select foretable_read_log([?], ?)", [str(tmp_path / "events.csv"), CONTRACT]).fetchone()
        assert con.execute(f"select user_id from '{answer['folder']}/*.parquet'").fetchall() == [("u1",)]
        con.execute("select foretable_drop_log(?)", [answer["folder"]])
    assert not Path(answer["folder"]).exists()


def test_columns_are_one_column_whatever_their_case_in_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"User_ID,Colour\nu1,red\n")
    (tmp_path / "b.jsonl").write_bytes(b'{"USER_ID": "u2", "COLOUR": "blue"}\n')
    folder = tmp_path / "landed"
    folder.mkdir()
    land([tmp_path / "a.csv", tmp_path / "b.jsonl"], CONTRACT, folder)
    rows = rows_of([pq.read_table(file) for file in sorted(folder.iterdir())])
    assert rows == [{"user_id": "u1", "Colour": "red"}, {"user_id": "u2", "Colour": "blue"}]


def test_a_data_folder_may_have_any_name_and_parts_of_mixed_line_endings(tmp_path: Path) -> None:
    data = tmp_path / "it's [1]*{a,b}? x=1"
    (data / "events").mkdir(parents=True)
    (data / "events" / "one.csv").write_bytes(
        b"user_id,event_type,occurred_at,row_id\r\nu1,view,2025-01-01,a\nu2,view,2025-01-02,b\r\n"
    )
    (data / "events" / "two.csv").write_bytes(HEADER + b'u3,view,2025-01-03\n"u4,view,2025-01-03\n')
    (data / "items").mkdir()
    pq.write_table(pa.table({"item_id": ["i"]}), data / "items" / "one.parquet")
    run = run_dbt(
        *("build", "--select", "+stg_events", "+stg_items", "--exclude-resource-type", "test", "unit_test"),
        warehouse=tmp_path / "shop.duckdb",
        data=data,
    )
    assert run.code == 0, run.output
    with duckdb.connect(str(tmp_path / "shop.duckdb"), read_only=True) as con:
        found = con.execute(
            "select user_id, row_id_, rejection_reason from staging.stg_events order by all nulls last"
        ).fetchall()
        assert (
            con.execute("select item_id, columns(* exclude item_id) is null from staging.stg_items").fetchone()[0]
            == "i"
        )
    assert found == [("u1", "a", None), ("u2", "b", None), ("u3", None, None), (None, None, "malformed_line")]
