"""The file that is served: opened once, and anew in the background when another has taken its place."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from foretable.sentences import plain_exception
from foretable.serving.scoring import ScoringFile, stamp_of

WATCH_SECONDS = 1.0
RETRY_SECONDS = 5.0
log = logging.getLogger("foretable.serving")


class CurrentFile:
    """Belongs to one event loop. Whoever asks gets the file that is open; no request waits for the next one.

    A request uses the file without awaiting anything, so that none is under way when another file takes its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = stamp_of(path) if path.is_file() else None
        self._file = ScoringFile(path)
        self._opening: asyncio.Task[None] | None = None
        self._retry_at = 0.0

    def get(self) -> ScoringFile:
        if self._opening is None and self._is_replaced() and time.monotonic() >= self._retry_at:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        return self._file

    async def watch(self) -> None:
        """Look for another file now and then, so that one is open before somebody asks."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.get()

    def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self._file.close()

    def _is_replaced(self) -> bool:
        try:
            return stamp_of(self.path) != self._stamp
        except OSError:
            return False

    async def _open(self) -> None:
        """Open what lies at the path now. Where it cannot be opened, the one before goes on, and it is tried again."""
        try:
            stamp = stamp_of(self.path)
            file = await asyncio.to_thread(ScoringFile, self.path)
        except Exception as error:
            log.error("%s cannot be opened, the file before it is still served: %s", self.path, plain_exception(error))
            self._retry_at = time.monotonic() + RETRY_SECONDS
        else:
            self._file.close()
            self._file, self._stamp = file, stamp
            log.warning("%s was replaced; the new one is served", self.path)
        finally:
            self._opening = None
