"""FuseSoC core of the machine."""

from __future__ import annotations

from importlib import metadata

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import TOP, generate
from etchnet.host.flows.project import describe
from etchnet.host.flows.testbench import testbench
from etchnet.host.flows.yaml import to_yaml

__all__ = ["fusesoc"]


def fusesoc(config: Config) -> dict[str, str]:
    """Return the files of a FuseSoC core (CAPI2), as texts by name.

    The core has the targets default, lint, sim (with a test bench) and synth.
    """
    design = generate(config)
    core = {
        "name": f"::{TOP}:{metadata.version('etchnet')}",
        "description": describe(config),
        "filesets": {
            "rtl": {"files": [f"{TOP}.v"], "file_type": "verilogSource"},
            "bench": {"files": [f"{TOP}_tb.v"], "file_type": "verilogSource"},
        },
        "targets": {
            "default": {"filesets": ["rtl"], "toplevel": design.top},
            "lint": {
                "filesets": ["rtl"],
                "toplevel": design.top,
                "flow": "lint",
                "flow_options": {"tool": "verilator", "verilator_options": ["-Wall"]},
            },
            "sim": {
                "filesets": ["rtl", "bench"],
                "toplevel": f"{TOP}_tb",
                "flow": "sim",
                "flow_options": {"tool": "verilator", "mode": "binary", "verilator_options": ["--timing"]},
            },
            "synth": {
                "filesets": ["rtl"],
                "toplevel": design.top,
                "flow": "generic",
                "flow_options": {"tool": "yosys", "arch": "ecp5", "output_format": "json"},
            },
        },
    }
    return {**design.files, f"{TOP}_tb.v": testbench(config), f"{TOP}.core": "CAPI=2:\n\n" + to_yaml(core)}
