"""Compiled machines: when one is taken from the cache, and when it is built anew."""

import shutil
from types import SimpleNamespace

import pytest

from etchnet.hdl.isa.config import Config
from etchnet.sim.engines.verilated import generated_verilog, library

SMALL = Config(rows=2, columns=2, weight_tiles=4, activation_words=8, input_words=8, output_words=8)


@pytest.fixture
def gateware(tmp_path, monkeypatch):
    """A copy of the gateware's source that stands in for it, and an empty cache."""
    copy = tmp_path / "hdl"
    shutil.copytree(library.GATEWARE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(library, "GATEWARE", copy)
    monkeypatch.setenv("ETCHNET_CACHE", str(tmp_path / "cache"))
    return copy


def built(config=SMALL):
    """Whether the Verilog was made anew."""
    said = []
    generated_verilog(config, said.append)
    return bool(said)


def test_verilog_is_kept_until_the_machine_is_another(gateware):
    assert built()
    assert not built()
    assert built(Config(rows=2, columns=2, weight_tiles=5, activation_words=8, input_words=8, output_words=8))
    assert not built()


def test_a_change_of_any_source_file_makes_it_anew(gateware, monkeypatch):
    """In every folder, and also where a file comes, goes or moves."""
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
