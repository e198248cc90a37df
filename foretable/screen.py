"""What the command line shows: live progress on a terminal, plain lines elsewhere, and tables."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from foretable.build import Screen, Step

PLAIN_WIDTH = 160
SECONDS_BETWEEN_LINES = 5.0
QUIET_SECONDS = 10.0
LONGEST_CELL = 80
STEP_WIDTH, BAR_WIDTH, NOTE_WIDTH = 34, 20, 16


def make_console() -> Console:
    """Standard output; wide where it is no terminal, so that no column is cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def make_screen(console: Console) -> Screen:
    """The progress that suits the console."""
    return LiveScreen(console) if console.is_terminal else PlainScreen()


def show_table(console: Console, title: str, rows: Sequence[Mapping[str, Any]], *, right: Sequence[str] = ()) -> None:
    """Print a table under its title. `right` names columns of text that are numbers."""
    table = make_table(rows)
    for column in table.columns:
        if str(column.header) in right:
            column.justify = "right"
    console.print()
    console.print(Text(title, style="bold"))
    _print_whole(console, table)


def show_rows(console: Console, rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] = ()) -> None:
    """Print a table; on a terminal too narrow for it a block of lines for each row, so that nothing is cut."""
    table = make_table(rows, columns=columns)
    if not console.is_terminal or not rows or _width(table) <= console.width:
        _print_whole(console, table)
        return
    names = list(columns) or list(rows[0])
    widest = max(len(name) for name in names)
    for number, row in enumerate(rows, start=1):
        console.print(Text(f"row {number}", style="bold"))
        for name in names:
            console.print(Text(f"  {name:<{widest}}  {cell_text(row.get(name))}"))


def _print_whole(console: Console, table: Table) -> None:
    """Print a table at its own width: a terminal wraps it, and nothing is cut."""
    wide = Console(file=console.file, force_terminal=console.is_terminal, width=max(_width(table), 1), highlight=False)
    wide.print(table)


def _width(table: Table) -> int:
    endless = Console(width=100_000)
    return Measurement.get(endless, endless.options, table).maximum


class LiveScreen:
    """A bar for the whole and a line for each step that runs now."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=Column(width=STEP_WIDTH, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=BAR_WIDTH),
            TextColumn("{task.fields[note]}", table_column=Column(width=NOTE_WIDTH, no_wrap=True)),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self.whole = self.progress.add_task("starting", total=None, note="")
        self.tasks: dict[str, TaskID] = {}
        self.lock = threading.RLock()
        self.progress.start()

    def say(self, text: str) -> None:
        self.progress.update(self.whole, description=text)

    def started(self, step: str) -> None:
        with self.lock:
            if step not in self.tasks:
                self.tasks[step] = self.progress.add_task(f"  {step}", total=None, note="")

    def finished(self, step: Step, place: int, total: int) -> None:
        with self.lock:
            task = self.tasks.pop(step.name, None)
            if task is not None:
                self.progress.remove_task(task)
        self.progress.update(
            self.whole, description="building", completed=place, total=total, note=f"{place} of {total}"
        )
        if step.has_failed:
            self.progress.console.print(Text(f"{step.name} failed", style="red"))

    def share(self, task: str, activity: str, done: float) -> None:
        with self.lock:
            self.started(task)
            # A task that is full stops its clock, but others of its activities may follow.
            self.progress.update(self.tasks[task], completed=min(done, 0.999), total=1.0, note=f"{activity} {done:.0%}")

    def close(self) -> None:
        self.progress.stop()


class PlainScreen:
    """One line for each table that is finished, and a line now and then while something takes long."""

    def __init__(self) -> None:
        self.out = sys.stdout  # as it is now: a build sends other people's prints elsewhere
        self.running: dict[str, float] = {}
        self.last_share: dict[str, float] = {}
        self.last_line = time.monotonic()
        self.lock = threading.RLock()
        self.ended = threading.Event()
        threading.Thread(target=self._show_that_it_lives, daemon=True).start()

    def say(self, text: str) -> None:
        self._print(text)

    def started(self, step: str) -> None:
        with self.lock:
            self.running[step] = time.monotonic()

    def finished(self, step: Step, place: int, total: int) -> None:
        with self.lock:
            self.running.pop(step.name, None)
            self.last_share.pop(step.name, None)
        if step.kind != "test" or step.has_failed:
            ending = f"{step.seconds:.1f} s" if not step.has_failed else "failed"
            if step.status == "skipped":
                ending = "skipped, since a step before it failed"
            self._print(f"{place:>{len(str(total))}} of {total}  {step.name}  {ending}")

    def share(self, task: str, activity: str, done: float) -> None:
        with self.lock:
            now = time.monotonic()
            if now - self.last_share.get(task, 0.0) < SECONDS_BETWEEN_LINES:
                return
            self.last_share[task] = now
        self._print(f"  {task}: {activity} {done:.0%}")

    def close(self) -> None:
        self.ended.set()

    def _print(self, line: str) -> None:
        with self.lock:
            self.last_line = time.monotonic()
            print(line, file=self.out, flush=True)

    def _show_that_it_lives(self) -> None:
        while not self.ended.wait(1.0):
            with self.lock:
                now = time.monotonic()
                if now - self.last_line < QUIET_SECONDS:
                    continue
                running = [f"{name} ({now - since:.0f} s so far)" for name, since in self.running.items()]
                self._print(f"  still at {', '.join(running) or 'it'}")


def make_table(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] = ()) -> Table:
    """A table of rows, numbers on the right. `columns` gives the order where there may be no rows."""
    names = list(columns) or (list(rows[0]) if rows else [])
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in names:
        values = [row.get(name) for row in rows]
        is_number = any(_is_number(value) for value in values)
        table.add_column(
            Text(name),
            justify="right" if is_number else "left",
            overflow="ellipsis",
            max_width=LONGEST_CELL,
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*(Text(cell_text(row.get(name))) for name in names))
    return table


def cell_text(value: Any) -> str:
    """A value as a cell shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return " ".join(str(value).split())


def _is_number(value: Any) -> bool:
    from decimal import Decimal

    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
