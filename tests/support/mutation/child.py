"""Tests in a process of their own, forked from one that has imported what tests import from elsewhere.

``python -m support.mutation.child`` in the folder `tests` of a copy of the package reads requests from standard input,
one JSON object a line, and writes one line of JSON for everything that happens. The package itself is imported in the
forked process only, so each request sees the files as they are then.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

ROOT = Path(__file__).parents[3]
IMPORTED = [
    *("numpy", "numpy.testing", "amaranth.hdl", "amaranth.sim", "amaranth.back.rtlil", "amaranth.back.verilog"),
    *("amaranth.lib.data", "amaranth.lib.memory", "amaranth.lib.stream", "amaranth.lib.wiring", "hypothesis"),
    *("hypothesis.extra.numpy", "click", "joblib", "lazy_loader", "onnx", "onnxruntime", "PIL.Image", "platformdirs"),
    *("rich.console", "rich.progress", "rich.table", "tflite", "threadpoolctl", "tomllib", "zipfile"),
]
KILLED, CRASHED, TIMED_OUT, PASSED = "killed", "crashed", "timed out", "passed"
MEASURED = ("hdl", "sim", "host", "tests/support", "tests/figures")
DOUBTS = {CRASHED: 1, TIMED_OUT: 3}
"""how much a test that ends so counts towards giving a mutant up"""
SETTLE = 20.0
"""seconds that any test may take, in addition to ten times those that it took before"""


class TimeUp(BaseException):
    """A test took too long."""


def verdict(error: BaseException, frames: list[str]) -> str:
    """Tell an assertion of a test, or an error that the package defines, from any other.

    `frames` are the files of the traceback, the innermost last.
    """
    if isinstance(error, TimeUp):
        return TIMED_OUT
    if isinstance(error, BaseExceptionGroup):
        stacks = [traceback.extract_tb(each.__traceback__) for each in error.exceptions]
        files = [[frame.filename for frame in stack] for stack in stacks]
        kinds = [verdict(each, stack) for each, stack in zip(error.exceptions, files, strict=True)]
        return KILLED if KILLED in kinds else kinds[0]
    own = [kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("etchnet.")]
    if "EtchnetError" in own or isinstance(error, pytest.fail.Exception):
        return KILLED
    innermost = Path(frames[-1]) if frames else ROOT
    inside = any(innermost.is_relative_to(ROOT / folder) for folder in ("hdl", "sim", "host"))
    if isinstance(error, AssertionError) and not inside and "amaranth" not in innermost.parts:
        return KILLED
    return CRASHED


class Recorder:
    """A pytest plugin that runs the requested tests in the requested order, and reports the outcome of each."""

    def __init__(self, request: dict[str, Any], out: TextIO) -> None:
        self.request, self.out = request, out
        self.tests: dict[str, float] = request["tests"]
        self.doubts = 0
        self.start = 0.0
        self.coverage: Any = None

    def say(self, **what: Any) -> None:
        print(json.dumps(what), file=self.out, flush=True)

    def pytest_configure(self, config: pytest.Config) -> None:
        from hypothesis import Phase, settings

        # A failure is a failure: nobody reads the smallest example.
        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutants", settings.get_profile("default"), phases=phases, report_multiple_bugs=False)
        settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.tests:
            order = {name: place for place, name in enumerate(self.tests)}
            items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.say(test=report.nodeid, outcome=CRASHED, seconds=0, text=str(report.longrepr)[-500:])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.start = _spent()
        self.outcome, self.text = PASSED, ""
        if self.coverage:
            self.coverage.switch_context(item.nodeid)
        if limit := self.tests.get(item.nodeid):
            signal.signal(signal.SIGALRM, _time_up)
            signal.setitimer(signal.ITIMER_REAL, SETTLE + 10 * limit)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.say(test=item.nodeid, outcome=self.outcome, seconds=_spent() - self.start, text=self.text)
            self.doubts += DOUBTS.get(self.outcome, 0)
            if not self.coverage and (self.outcome == KILLED or self.doubts >= self.request["doubts"]):
                item.session.shouldstop = "decided"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[Any]:
        report = yield
        if report.failed and call.excinfo is not None:
            frames = [str(entry.path) for entry in call.excinfo.traceback]
            self.outcome = verdict(call.excinfo.value, frames)
            self.text = f"{call.excinfo.typename}: {call.excinfo.value}"[:300]
        return report


def _spent() -> float:
    """Return the CPU time of this process and its children in seconds, which does not depend on the load."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _time_up(*_: Any) -> None:
    raise TimeUp


def _covered(recorder: Recorder, data: Any) -> None:
    """Report the lines that each test ran."""
    for file in sorted(filter(data.lines, data.measured_files())):
        lines: dict[str, list[int]] = {}
        inside = "tests" not in Path(file).relative_to(ROOT).parts
        for line, contexts in data.contexts_by_lineno(file).items() if inside else ():
            for context in filter(None, contexts):
                lines.setdefault(context, []).append(line)
        recorder.say(file=Path(file).relative_to(ROOT).as_posix(), lines=lines)


def run(request: dict[str, Any], out: TextIO) -> None:
    """Run the tests of a request in this process."""
    recorder = Recorder(request, out)
    # What was imported before keeps its plain assertions, which is no concern here.
    arguments = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    arguments += ["--continue-on-collection-errors", *request["options"]]
    arguments += dict.fromkeys(name.split("::")[0] for name in request["files"])
    os.chdir(ROOT)
    with contextlib.ExitStack() as stack:
        if request.get("coverage"):
            import coverage

            recorder.coverage = coverage.Coverage(
                data_file=None, config_file=False, source=[str(ROOT / folder) for folder in MEASURED]
            )
            recorder.coverage.start()
            stack.callback(lambda: _covered(recorder, recorder.coverage.get_data()))
            stack.callback(recorder.coverage.stop)
        pytest.main(arguments, [recorder])


def _forked(request: dict[str, Any]) -> None:
    """Run a request in a process group of its own, in which what a test leaves running is stopped too."""
    child = os.fork()
    if child:
        deadline = time.monotonic() + request["seconds"]
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                print(json.dumps({"overdue": True}), flush=True)
                break
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        print(json.dumps({"end": True}), flush=True)
        return
    os.setsid()
    os.environ.update(request["environment"])
    # A test without an end stops by itself if the campaign was killed.
    resource.setrlimit(resource.RLIMIT_CPU, (int(request["seconds"]) + 1,) * 2)
    out = os.fdopen(os.dup(1), "w")
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    empty = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((empty, log, log)):
        os.dup2(file, number)
    status = 0
    try:
        run(request, out)
    except BaseException:
        traceback.print_exc()
        status = 1
    out.flush()
    sys.stdout.flush()
    os._exit(status)


def main() -> None:
    """Serve requests until standard input ends."""
    for name in IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        _forked(json.loads(line))


if __name__ == "__main__":
    main()
