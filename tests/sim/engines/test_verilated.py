"""Compiled machines: when one is taken from the cache, and when it is built again."""

import shutil
import sys
from types import SimpleNamespace

import pytest

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.verilated import BuildError, generated_verilog, library
from etchnet.sim.engines.verilated.cache import digest
from etchnet.sim.engines.verilated.toolchain import run_tool

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


@pytest.mark.parametrize(("sizes", "processors", "count"), [([10], 4, 1), ([900_000] * 3, 2, 2), ([600_000] * 2, 8, 3)])
def test_generated_files_are_merged_by_size(tmp_path, monkeypatch, sizes, processors, count):
    """There are at most as many merged files as processors, fewer for little code; each file is in one of them."""
    monkeypatch.setattr(library.os, "cpu_count", lambda: processors)
    sources = [tmp_path / f"part_{i}.cpp" for i in range(len(sizes))]
    for source, size in zip(sources, sizes, strict=True):
        source.write_text("/" * size)
    units = library._units(tmp_path, sources)
    included = "".join(unit.read_text() for unit in units)
    assert len(units) == count
    assert all(included.count(f'"{source}"') == 1 for source in sources)
