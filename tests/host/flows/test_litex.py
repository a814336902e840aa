"""The LiteX module, against stand-ins for LiteX and in LiteX itself."""

import json
import sys
import types

import pytest

from etchnet.host.flows.litex import litex
from etchnet.host.flows.processes import TILE
from etchnet.host.flows.project import write_files


def litex_module(files, monkeypatch, tmp_path):
    """Return the generated module, imported with stand-ins for LiteX and Migen, and the instances that it creates."""

    class Endpoint:
        def __init__(self, layout):
            ((name, bits),) = layout
            assert (name, bits) == ("data", 32)
            self.__dict__ |= {part: f"{id(self)}.{part}" for part in ("data", "valid", "ready")}

    class LiteXModule:
        def __init__(self):
            self.specials = []

        def __setattr__(self, name, value):
            if name == "specials" and not isinstance(value, list):
                value = [value]
            super().__setattr__(name, value)

        def __getattr__(self, name):
            if name == "specials":
                return []
            raise AttributeError(name)

    def instance(kind, **ports):
        return [(kind, ports)]

    stream = types.SimpleNamespace(Endpoint=Endpoint)
    for name, content in (
        ("litex", {}),
        ("litex.gen", {"LiteXModule": LiteXModule}),
        ("litex.soc", {}),
        ("litex.soc.interconnect", {"stream": stream}),
        ("migen", {"Instance": instance, "ClockSignal": lambda d: ("clock", d), "ResetSignal": lambda d: ("reset", d)}),
    ):
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    namespace = {"__file__": str(tmp_path / "etchnet_litex.py"), "__name__": "etchnet_litex"}
    exec(compile(files["etchnet_litex.py"], "etchnet_litex.py", "exec"), namespace)
    return namespace["Etchnet"]


def test_the_litex_module_connects_every_port_of_the_manifest(monkeypatch, tmp_path):
    files = litex(TILE)
    added = []
    machine = litex_module(files, monkeypatch, tmp_path)(
        platform=types.SimpleNamespace(add_source=added.append), domain="chip"
    )
    ((kind, ports),) = machine.specials
    manifest = json.loads(files["etchnet.json"])
    assert kind == manifest["top"]
    assert set(ports) == {f"{port['direction'][0]}_{name}" for name, port in manifest["ports"].items()}
    assert (ports["i_clk"], ports["i_rst"]) == (("clock", "chip"), ("reset", "chip"))
    assert ports["i_link_in_payload"] == machine.sink.data
    assert ports["o_link_in_ready"] == machine.sink.ready
    assert ports["o_link_out_valid"] == machine.source.valid
    assert added == [str(tmp_path / "etchnet.v")]


@pytest.mark.filterwarnings("default")
def test_litex_converts_the_module_to_verilog(monkeypatch, tmp_path):
    pytest.importorskip("litex")
    pytest.importorskip("migen")
    from migen.fhdl.verilog import convert

    write_files(litex(TILE), tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from etchnet_litex import Etchnet

    machine = Etchnet()
    text = str(convert(machine, ios={*machine.sink.flatten(), *machine.source.flatten()}))
    assert "etchnet etchnet(" in text
