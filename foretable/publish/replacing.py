"""Replace a file as a whole: readers see the old one or the new one, and what was replaced is kept for a while.

Everything lies in the file's own folder, since only there a rename is atomic: the new file under a hidden name until it
is whole, and those of before in `<name>.versions/`, named by their builds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foretable.publish.errors import PublishError


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Wait until no other process publishes into the folder; the lock goes with the process, however it ends.

    Raises PublishError where the folder is not there or cannot be written.
    """
    if not folder.is_dir():
        raise PublishError(f"no folder {folder} to publish into; make it first")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise PublishError(
            f"the folder {folder} cannot be written ({error.strerror}); publish into another one"
        ) from None
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def partial_of(target: Path, build_id: str) -> Path:
    """Where the new file is written until it is whole."""
    return target.with_name(f".{target.name}.{build_id}.partial")


def remove_partials(target: Path) -> None:
    """What a publish that failed or was killed has left, its write-ahead logs with it. Hold `only_one` to call it."""
    for left in target.parent.glob(f".{target.name}.*.partial*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def versions_folder(target: Path) -> Path:
    return target.with_name(f"{target.stem}.versions")


def replace_file(partial: Path, target: Path, *, old_build: str | None, keep: int) -> None:
    """Put the new file into the target's place, on the disk too, and keep the `keep` builds before it.

    old_build: the build that the target holds; None where there is no target yet.
    """
    sync(partial)
    if old_build is not None and keep:
        folder = versions_folder(target)
        folder.mkdir(exist_ok=True)
        _keep(target, folder / f"{old_build}{target.suffix}")
    os.replace(partial, target)
    sync(target.parent)
    keep_builds(target, keep)


def keep_builds(target: Path, keep: int) -> None:
    """Let the newest `keep` builds before the target's stay."""
    prune(versions_folder(target), f"*{target.suffix}", keep)


def prune(folder: Path, pattern: str, keep: int) -> None:
    """Remove all but the newest `keep` builds of a folder, told by their names."""
    builds = sorted(folder.glob(pattern))
    for old in builds[: max(0, len(builds) - keep)]:
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def sync(path: Path) -> None:
    """Let a file, or the names in a folder, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keep(target: Path, version: Path) -> None:
    """The file under a second name; as a copy where the file system gives a file one name only."""
    if version.exists():
        return
    try:
        os.link(target, version)
    except OSError:
        shutil.copyfile(target, version)
