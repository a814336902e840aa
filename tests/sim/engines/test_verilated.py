"""Compiled machines: when one is taken from the cache, and when it is built again."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.verilated import BuildError, generated_verilog, library, objects
from etchnet.sim.engines.verilated.cache import digest
from etchnet.sim.engines.verilated.toolchain import Toolchain, run_tool

SMALL = Config(rows=2, columns=2, weight_tiles=4, activation_words=8, input_words=8, output_words=8)


@pytest.fixture
def gateware(tmp_path, monkeypatch):
    """Replace the gateware's source by a copy, and the cache by an empty one; return the copy."""
    copy = tmp_path / "hdl"
    shutil.copytree(library.GATEWARE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(library, "GATEWARE", copy)
    monkeypatch.setenv("ETCHNET_CACHE", str(tmp_path / "cache"))
    return copy


def built(config=SMALL):
    """Return whether the Verilog was generated again."""
    said = []
    generated_verilog(config, said.append)
    return bool(said)


def test_verilog_is_cached_until_the_machine_changes(gateware):
    assert built()
    assert not built()
    assert built(Config(rows=2, columns=2, weight_tiles=5, activation_words=8, input_words=8, output_words=8))
    assert not built()


def test_a_change_of_any_source_file_generates_it_again(gateware, monkeypatch):
    """The change may be in any folder, or a file may be added, removed or moved."""
    monkeypatch.setattr(library, "generate", lambda config: SimpleNamespace(verilog="// only its name matters"))
    sources = [path for path in gateware.rglob("*.py") if path.name != "__init__.py"]
    assert len(sources) > 40
    assert built()
    for path in {path.parent: path for path in sources}.values():
        path.write_text(path.read_text() + "\n# changed\n")
        assert built(), path
        assert not built()
    (gateware / "more" / "deep").mkdir(parents=True)
    new = gateware / "more" / "deep" / "new.py"
    new.write_text("")
    assert built()
    new.rename(gateware / "more" / "new.py")
    assert built()


def test_a_digest_identifies_one_list_of_contents():
    assert digest("ab", "c") == digest(b"ab", b"c")
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4


def test_a_tool_that_fails_is_quoted(tmp_path):
    script = "import os, sys; print(os.environ['WORD'], os.getcwd(), 'two', 'three', sep='\\n', file=sys.stderr); "
    run_tool([sys.executable, "-c", script], tmp_path, {"WORD": "one"})
    with pytest.raises(BuildError, match=f"failed with exit status 3: one {tmp_path} two$"):
        run_tool([sys.executable, "-c", script + "sys.exit(3)"], tmp_path, {"WORD": "one"})


@pytest.mark.parametrize(
    ("files", "units"),
    [
        ({"a": 10}, {"hot_0": 10}),
        ({"a": 900_000, "b": 900_000, "c": 100_000}, {"hot_0": 1_000_000, "hot_1": 900_000}),
        ({"a__1": 1_000_001, "a__0__Slow": 20, "b__Slow": 30}, {"hot_0": 1_000_001, "hot_1": 0, "cold_0": 50}),
    ],
)
def test_generated_files_are_merged_by_size(tmp_path, files, units):
    """Each file is in one unit; what runs once is apart, and is not optimised."""
    for name, size in files.items():
        (tmp_path / f"{name}.cpp").write_text("/" * size)
    merged = objects.merged_units(tmp_path, [tmp_path / f"{name}.cpp" for name in files], "-O2")
    assert {unit.source.stem: unit.size for unit in merged} == units
    assert all(unit.level == ("-O2" if unit.source.stem.startswith("hot") else "-O0") for unit in merged)
    included = "".join(unit.source.read_text() for unit in merged)
    assert all(included.count(f'"{tmp_path / name}.cpp"') == 1 for name in files)


FAKE = """\
#!{python}
import os, pathlib, sys, time
arguments = sys.argv[1:]
if "--cc" in arguments:
    os.mkdir("obj")
    for name in ("Vetchnet.cpp", "Vetchnet__Slow.cpp"):
        pathlib.Path("obj", name).write_text("// " + name)
elif "-c" in arguments and {slow}:
    target = arguments[arguments.index("-o") + 1]
    pathlib.Path(target).write_text("half of an object")
    pathlib.Path({log!r}, str(os.getpid())).touch()
    time.sleep(60)
else:
    pathlib.Path(arguments[arguments.index("-o") + 1]).write_text("complete")
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Replace Verilator and the compiler by a script, and the cache by an empty one.

    `tools(slow=True)` makes compilers that write half a file, a file named after their process in the folder `log`, and
    then go on for a minute.
    """
    (log := tmp_path / "log").mkdir()
    monkeypatch.setenv("ETCHNET_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tool"

    def write(slow):
        path.write_text(FAKE.format(python=sys.executable, log=str(log), slow=slow))
        path.chmod(0o755)

    write(slow=False)
    (tmp_path / "include").mkdir()
    for name in objects.runtime_sources(waveforms=True):
        (tmp_path / "include" / name).write_text(f"// {name}")
    found = Toolchain(path, tmp_path / "include", str(path))
    monkeypatch.setattr(Toolchain, "find", classmethod(lambda cls: found))
    monkeypatch.setattr(library, "generate", lambda config: SimpleNamespace(verilog="// a machine"))
    return write


def names(folder):
    return sorted(path.suffix for path in folder.iterdir())


def test_progress_counts_the_files_and_the_second_time_there_is_nothing_to_do(tools, tmp_path):
    said = []
    path = library.build(SMALL, report=lambda line, share=None: said.append((line, share)))
    assert path.read_text() == "complete"
    assert said == [
        ("generating Verilog", None),
        ("translating Verilog to C++", None),
        ("compiling 4 C++ files", 0.0),
        *((f"compiled {done} of 4 C++ files", done / 4) for done in (1, 2, 3, 4)),
    ]
    assert names(tmp_path / "cache") == [".o", ".o", ".pace", ".so", ".v"]
    said.clear()
    assert library.timed_build(SMALL, report=said.append) == (path, None)
    assert said == ["the compiled machine is in the cache"]
    # Another machine: the runtime is ready, and the time that it will take is known.
    other = Config(rows=2, columns=2, weight_tiles=5, link_bits=64)
    assert library.timed_build(other, report=lambda line, share=None: said.append(line))[1] > 0
    assert said[3] == "compiling 4 C++ files, about 1 s for all"


def processes(log, count):
    """Wait until `count` compilers are at work; return their process numbers."""
    deadline = time.monotonic() + 20
    while len(found := [int(path.name) for path in log.iterdir()]) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def ended(numbers, folder):
    """Return whether these processes have ended within ten seconds, and no build is left in `folder`."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        running = [number for number in numbers if Path(f"/proc/{number}/cmdline").exists() and cmdline(number)]
        if not running and not list(folder.glob("build-*")):
            return True
        time.sleep(0.01)
    return False


def cmdline(number):
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""


def test_an_interrupted_build_leaves_no_file_and_no_process(tools, tmp_path):
    tools(slow=True)

    def interrupt():
        processes(tmp_path / "log", 1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        library.build(SMALL)
    thread.join()
    assert ended(processes(tmp_path / "log", 1), tmp_path / "cache")
    assert names(tmp_path / "cache") == [".v"]


IN_A_PROCESS = """
import pathlib, sys, types
from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.verilated import library
tool = pathlib.Path(sys.argv[1])
found = library.Toolchain(tool, tool.with_name("include"), str(tool))
library.Toolchain.find = classmethod(lambda cls: found)
library.generate = lambda config: types.SimpleNamespace(verilog="// a machine")
library.build(Config(rows=2, columns=2))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_build_leaves_no_file_and_no_process(tools, tmp_path, number):
    tools(slow=True)
    with subprocess.Popen([sys.executable, "-c", IN_A_PROCESS, tmp_path / "tool"]) as process:
        compilers = processes(tmp_path / "log", 1)
        process.send_signal(number)
    assert process.returncode == -number
    assert ended(compilers, tmp_path / "cache")
    assert names(tmp_path / "cache") == [".v"]


def test_threads_build_a_library_once(tools, tmp_path):
    said = []
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: library.build(SMALL, report=lambda line, share=None: said.append(line)), range(4)))
    assert said.count("compiling 4 C++ files") == 1
    assert said.count("the compiled machine is in the cache") == 3
