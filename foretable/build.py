"""Run dbt's build in this process, tell a screen how far it is, and report what came out in plain words."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from foretable.project import Project, Refusal, find_project, packaged_project
from foretable.sentences import plain, plain_exception

TRAIN = ("when_changed", "always", "never")
INTERRUPTED = 130


class Screen(Protocol):
    """Who is told how far a build is. Called from several threads."""

    def say(self, text: str) -> None:
        """Something without steps is going on."""

    def started(self, step: str) -> None:
        """A step of the build runs now."""

    def finished(self, step: Step, place: int, total: int) -> None:
        """It ended, as number `place` of `total`."""

    def share(self, task: str, activity: str, done: float) -> None:
        """`done`, 0 to 1, of an activity within a step."""

    def close(self) -> None:
        """Nothing more will come."""


@dataclass(frozen=True)
class Order:
    """What to build. `data` is the folder of the raw files; None: as the project says. `vars` go to dbt as they are.

    is_plan: predictions only say what they would do. folds: they are only cross-validated. Neither is the order that
    later commands go by.
    """

    project: Project
    warehouse: Path
    data: Path | None = None
    vars: Mapping[str, Any] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    selector: str | None = None
    full_refresh: bool = False
    train: str = TRAIN[0]
    promote: str | None = None
    is_plan: bool = False
    folds: int | None = None
    threads: int | None = None
    is_tested: bool = True

    @property
    def is_published(self) -> bool:
        """Whether what was built is published, as the var `publish` says."""
        return bool({**self.project.vars, **self.vars}.get("publish", True))


@dataclass(frozen=True)
class Step:
    """One node of the build and how it ended: success, error, fail, warn or skipped."""

    name: str
    kind: str
    status: str
    seconds: float
    failures: int = 0
    message: str = ""
    compiled: Path | None = None

    @property
    def has_failed(self) -> bool:
        return self.status in {"error", "fail", "runtime error", "partial success"}


@dataclass(frozen=True)
class Report:
    """How a build went. `problem` is a fault outside any step: the project cannot be read, say."""

    run_id: str
    warehouse: Path
    seconds: float
    steps: tuple[Step, ...]
    problem: str | None = None

    @property
    def failed(self) -> list[Step]:
        return [step for step in self.steps if step.has_failed]

    @property
    def is_good(self) -> bool:
        return self.problem is None and not self.failed


def run_build(order: Order, screen: Screen) -> Report:
    """Build the project into the warehouse.

    Failures come back in the report. Ctrl-C ends the process at once, with one line and exit code 130: every table and
    every prediction is written in a transaction, so that what was there before stays.
    """
    state = state_folder(order.warehouse)
    state.mkdir(parents=True, exist_ok=True)
    if not order.is_plan and order.folds is None:
        _remember(order, state)
    with _environment(order), _at_once_on_interrupt(screen):
        screen.say("starting dbt")
        watch = _Watch(screen)
        started = time.monotonic()
        problem = _install_packages(order, state)
        if problem is None:
            problem, steps, warehouse = _invoke(order, state, watch)
        else:
            steps, warehouse = (), order.warehouse
        screen.close()
    return Report(watch.run_id, warehouse, time.monotonic() - started, steps, problem)


def state_folder(warehouse: Path) -> Path:
    """What dbt compiles and logs for a warehouse lies beside it, never in the installed package."""
    return warehouse.parent / ".foretable" / warehouse.stem


def last_order(warehouse: Path) -> dict[str, Any]:
    """The source, data folder, project and vars that the warehouse was last built from, as far as it is known."""
    file = state_folder(warehouse) / "build.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def order_again(warehouse: Path, verb: str) -> Order:
    """The order of the last build, all of it; raises Refusal where the warehouse was never built."""
    known = last_order(warehouse)
    if not warehouse.is_file() or not known:
        raise Refusal(f"{warehouse} was not built yet by `foretable build`; build it once, then {verb}")
    return Order(
        project=find_project(None if known["project"] == "packaged" else Path(known["project"])),
        warehouse=warehouse,
        data=Path(known["data"]) if known["data"] else None,
        vars=known["vars"],
    )


def _remember(order: Order, state: Path) -> None:
    settings = {**order.project.vars, **order.vars}
    known = {
        "source": str(settings.get("source", "contract")),
        "data": str(order.data.resolve()) if order.data else str(settings.get("data", "")),
        "project": "packaged" if order.project.is_packaged else str(order.project.folder),
        "vars": dict(order.vars),
    }
    (state / "build.json").write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _arguments(order: Order, state: Path) -> list[str]:
    settings = dict(order.vars)
    if order.train != TRAIN[0]:
        settings["train"] = order.train
    if order.promote:
        settings["promote"] = order.promote
    if order.is_plan:
        settings["plan"] = True
    if order.folds is not None:
        settings["folds"] = order.folds
    if order.data and not order.project.is_packaged:
        settings["data"] = str(order.data.resolve())  # over the project's own var
    arguments = [
        *_QUIET,
        *("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "exposure"),
        *_places(order, state),
        *("--vars", json.dumps(settings)),
    ]
    if not order.is_tested:
        arguments += ["--exclude-resource-type", "test"]
    if order.select:
        # A test that also looks at tables that were not chosen may find them missing or older.
        arguments += ["--select", *order.select, "--indirect-selection", "cautious"]
    if order.exclude:
        arguments += ["--exclude", *order.exclude]
    if order.selector:
        arguments += ["--selector", order.selector, "--indirect-selection", "cautious"]
    if order.full_refresh:
        arguments += ["--full-refresh"]
    if order.threads:
        arguments += ["--threads", str(order.threads)]
    return arguments


_QUIET = ("--quiet", "--log-level", "none", "--log-level-file", "debug", "--no-use-colors")


def _places(order: Order, state: Path) -> list[str]:
    project = order.project
    places = {
        "--project-dir": project.folder,
        "--profiles-dir": project.profiles,
        "--target-path": state / "target",
        "--log-path": state / "logs",
    }
    arguments = [part for flag, folder in places.items() for part in (flag, str(folder))]
    if project.profiles == packaged_project():
        arguments += ["--profile", "foretable"]
    return arguments


def _install_packages(order: Order, state: Path) -> str | None:
    """`dbt deps`, for a project that names packages; the sentence that says why it failed."""
    if not order.project.has_packages:
        return None
    from dbt.cli.main import dbtRunner

    places = [part for part in _places(order, state) if part not in {"--target-path", str(state / "target")}]
    result = dbtRunner().invoke([*_QUIET, "deps", *places])
    return None if result.success else _problem(result.exception)


def _invoke(order: Order, state: Path, watch: _Watch) -> tuple[str | None, tuple[Step, ...], Path]:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    from udfs.progress import listen

    listen(watch.training)
    warehouse = order.warehouse
    try:
        result = dbtRunner(callbacks=[watch.event]).invoke(_arguments(order, state))
    finally:
        watch.is_over = True
        environment = DuckDBConnectionManager._ENV
        if environment is not None:
            warehouse = Path(environment.creds.path).absolute()
            environment.close()
        DuckDBConnectionManager.close_all_connections()
        reset_adapters()
        gc.collect()  # cursors that dbt's threads have left hold the file
    if isinstance(result.exception, KeyboardInterrupt):
        raise result.exception
    steps = tuple(_step(one, order.project) for one in getattr(result.result, "results", []))
    problem = None
    if result.exception is not None:
        problem = _problem(result.exception)
    elif not result.success and not any(step.has_failed for step in steps):
        problem = "dbt stopped without saying why; its log is in " + str(state / "logs")
    elif not steps:
        chosen = " ".join([*order.select, *(f"--exclude {each}" for each in order.exclude)])
        chosen = f"--selector {order.selector}" if order.selector else f"--select {chosen}".rstrip()
        raise Refusal(f"nothing in the project matches {chosen}")
    return problem, steps, warehouse


def _problem(error: BaseException | None) -> str:
    return plain_exception(error) if error is not None else "dbt stopped without saying why"


def _step(result: Any, project: Project) -> Step:
    node = result.node
    compiled = getattr(node, "compiled_path", None)
    return Step(
        name=node.name,
        kind=str(node.resource_type),
        status=str(result.status),
        seconds=float(result.execution_time or 0.0),
        failures=int(result.failures or 0),
        message=plain(result.message) if result.message and str(result.status) not in {"success", "pass"} else "",
        compiled=Path(compiled) if compiled else None,
    )


class _Watch:
    """Turns dbt's events and the training's progress into calls of a screen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.run_id = ""
        self.is_over = False
        self.total = 0
        self.place = 0
        self.lock = threading.Lock()

    def event(self, message: Any) -> None:
        info, name = message.info, message.info.name
        self.run_id = info.invocation_id or self.run_id
        if name == "MainReportVersion":
            self.screen.say("reading the dbt project")
        elif name == "ConcurrencyLine":
            self.total = message.data.node_count
            self.screen.say(f"building {self.total} steps")
        elif name == "NodeStart":
            self.screen.started(message.data.node_info.node_name)
        elif name == "NodeFinished":
            self._finished(message.data)
        elif name == "SkippingDetails":
            with self.lock:
                self.place += 1

    def _finished(self, data: Any) -> None:
        node, result = data.node_info, data.run_result
        if node.resource_type == "operation":
            return
        with self.lock:
            self.place += 1
            place = self.place
        step = Step(
            node.node_name,
            node.resource_type,
            node.node_status,
            result.execution_time,
            failures=result.num_failures,
        )
        self.screen.finished(step, place, max(self.total, place))

    def training(self, prediction: str, activity: str, done: float) -> None:
        if not self.is_over:
            self.screen.share(f"pred__{prediction}", activity, done)


@contextlib.contextmanager
def _environment(order: Order) -> Iterator[None]:
    """The environment variables that the project reads; stray prints of libraries go to stderr; paths of the team's
    own project are read from its folder.
    """
    wanted = {
        "FORETABLE_WAREHOUSE": str(order.warehouse),
        "FORETABLE_DBT_PROJECT": str(packaged_project()),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        # Left behind by an interrupted build, multiprocessing's tracker tidies up; it need not say so.
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning"),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
    }
    if order.data:
        wanted["FORETABLE_DATA"] = str(order.data.resolve())
    elif order.project.is_packaged:
        wanted["FORETABLE_DATA"] = os.environ.get("FORETABLE_DATA") or str(Path("shop").resolve())
    before = {name: os.environ.get(name) for name in wanted}
    here = Path.cwd()
    os.environ.update(wanted)
    try:
        if not order.project.is_packaged:
            os.chdir(order.project.folder)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.chdir(here)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _at_once_on_interrupt(screen: Screen) -> Iterator[None]:
    """Ctrl-C ends the process without waiting for a training that no thread can be asked to leave."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    words = os.dup(2)  # while TensorFlow is imported, file descriptor 2 leads nowhere

    def leave(signum: int, frame: FrameType | None) -> None:
        screen.close()
        os.write(words, b"Interrupted; tables and predictions that were not finished are as they were before.\n")
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(words)
