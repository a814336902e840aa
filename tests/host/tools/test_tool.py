"""Tools are found, run in a folder with a log, stopped at a time limit, and quoted in errors."""

import re
import sys
import time

import pytest

from etchnet.host.tools import tool as tools
from etchnet.host.tools import yosys
from etchnet.host.tools.tool import MissingPackageError, TookTooLongError, Tool, ToolError, reason
from etchnet.host.tools.yosys import SynthesisError, run_yosys

PYTHON = Tool("python3")


def run(code, folder, **options):
    return PYTHON.run(["-c", code], folder=folder, log="python.log", **options)


def test_output_is_returned_logged_and_watched(tmp_path):
    seen = []
    text = run("import sys; print('one'); print('two', file=sys.stderr)", tmp_path, watch=seen.append)
    assert sorted(text.splitlines()) == sorted(seen) == ["one", "two"]
    assert (tmp_path / "python.log").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["python.log"]


def test_a_tool_runs_in_the_folder_and_reads_its_input(tmp_path):
    text = run("import os, sys; print(os.getcwd(), sys.stdin.read())", tmp_path, stdin="given")
    assert text.split() == [str(tmp_path.resolve()), "given"]


def test_a_failure_quotes_the_last_error_and_keeps_the_log(tmp_path):
    code = "print('ERROR: first'); print('ERROR: second'); print('more'); raise SystemExit(3)"
    with pytest.raises(ToolError, match=r"^python3: second$") as raised:
        run(code, tmp_path)
    assert raised.value.log == tmp_path / "python.log"
    assert "more" in raised.value.log.read_text()


def test_a_tool_is_killed_at_its_time_limit(tmp_path):
    start = time.monotonic()
    with pytest.raises(TookTooLongError, match=r"^python3 did not finish within 0\.5 s$"):
        run("import time; print('begun', flush=True); time.sleep(60)", tmp_path, limit=0.5)
    assert time.monotonic() - start < 30
    assert [path.name for path in tmp_path.iterdir()] == ["python.log"]


def test_an_exception_during_a_run_kills_the_tool(tmp_path):
    def interrupt(line):
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run("import time; print('begun', flush=True); time.sleep(60)", tmp_path, watch=interrupt)
    assert time.monotonic() - start < 30
    assert (tmp_path / "python.log").read_text() == "begun\n"


def test_the_error_for_a_missing_tool_says_what_to_install():
    tool = Tool("no-such-program", "no_such_package:run", "no-such-package")
    with pytest.raises(
        MissingPackageError, match=re.escape('no-such-program was not found: pip install "etchnet[fpga]"')
    ):
        tool.command()
    assert tool.version() == "no-such-program"


def test_a_package_is_preferred_to_the_path(monkeypatch):
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: True)
    command = Tool("python3", "package:run", "package").command()
    assert command[:2] == [sys.executable, "-c"]
    assert "import sys, package as tool; sys.exit(tool.run(sys.argv[1:]))" in command[2]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\nERROR: no\nb\n", "no"),
        ("x.v:3: ERROR: bad thing", "bad thing"),
        ("error: e\nlast", "error: e"),
        ("1\n\n2\n3\n4\n", "2 / 3 / 4"),
        ("\n", "it failed without output"),
    ],
)
def test_reasons(text, why):
    assert reason(text) == why


class FakeYosys(Tool):
    """Python program that writes its own log, like Yosys, and then runs the script."""

    def command(self):
        code = "import sys; open(sys.argv[2], 'w').write('9.1. Executing OPT pass\\n'); exec(sys.stdin.read())"
        return [sys.executable, "-c", code]


def test_yosys_reports_its_steps_and_returns_its_own_log(tmp_path, monkeypatch):
    monkeypatch.setattr(yosys, "YOSYS", FakeYosys("yosys"))
    said = []
    log = run_yosys("print('12. Executing ABC pass (technology mapping).')", folder=tmp_path, report=said.append)
    assert log == "9.1. Executing OPT pass\n"
    assert said[1:] == ["Yosys: abc"]
    assert [path.name for path in tmp_path.iterdir()] == ["yosys.log"]


def test_an_error_of_a_script_quotes_yosys(tmp_path, monkeypatch):
    monkeypatch.setattr(yosys, "YOSYS", FakeYosys("yosys"))
    script = "open('yosys.log', 'a').write('ERROR: no such module\\n'); sys.exit(1)"
    with pytest.raises(SynthesisError, match=r"^yosys: no such module$") as raised:
        run_yosys(script, folder=tmp_path)
    assert raised.value.log == tmp_path / "yosys.log"
