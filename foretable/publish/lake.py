"""The published tables as Parquet files, one a table, for whoever reads a folder and no DuckDB file.

    FOLDER/20261128T042312920129Z/pred__purchase_30d.parquet
    FOLDER/latest -> 20261128T042312920129Z

A build's folder appears once it is whole, and `latest` is turned to it in one step. A reader that follows `latest` once
and then reads from the folder it led to sees one build.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from foretable.publish import replacing
from foretable.publish.errors import PublishError
from foretable.publish.tables import exported_tables
from ibis_features.reader import PUBLISHED, open_reader
from udfs.quoting import literal

LATEST = "latest"


def write_parquet(published: Path, folder: Path, *, keep: int) -> Path:
    """Write the tables of a published file into a folder of the build, and return it; `keep` builds before it stay.

    Raises PublishError where the folder is none or holds other things. What was there before then stands.
    """
    if folder.exists() and not folder.is_dir():
        raise PublishError(f"{folder} is a file; name a folder for the Parquet files with --parquet FOLDER")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PublishError(f"the folder {folder} cannot be made ({error.strerror}); name another one") from None
    with replacing.only_one(folder), open_reader(published) as con:
        foreign = [one.name for one in folder.iterdir() if one.name != LATEST and not _is_ours(one)]
        if foreign:
            raise PublishError(f"{folder} holds {foreign[0]}, which is no build; name a folder of its own")
        row = con.execute(f"select build_id from {PUBLISHED}").fetchone()
        assert row is not None
        final, partial = folder / row[0], folder / f".{row[0]}.partial"
        _remove_partials(folder)
        try:
            if not final.is_dir():  # else another publish was quicker to write this build
                partial.mkdir()
                for table in exported_tables(con):
                    file = partial / f"{table.name}.parquet"
                    con.execute(f"copy (from {table.sql}) to {literal(str(file))} (format parquet)")
                    replacing.sync(file)
                replacing.sync(partial)
                os.rename(partial, final)
            link = folder / f".{LATEST}.partial"
            link.symlink_to(final.name)
            os.replace(link, folder / LATEST)
            replacing.sync(folder)
        finally:
            _remove_partials(folder)
        replacing.prune(folder, "[0-9]*Z", keep + 1)
    return final


def _is_ours(entry: Path) -> bool:
    """A build, or what one that was killed has left."""
    return (entry / f"{PUBLISHED}.parquet").is_file() or entry.name.endswith(".partial")


def _remove_partials(folder: Path) -> None:
    for left in folder.glob(".*.partial"):
        if left.is_symlink():
            left.unlink()
        else:
            shutil.rmtree(left)
