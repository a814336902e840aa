"""The figures and pictures of docs/fpga.md, from builds.

``python tests/figures/fpga_figures.py [WORD ...]`` builds the designs with one of the words in their command, or all of
them, and writes their lines into the page; other lines stay. Needs the extra "fpga", and ETCHNET_MODELS for the
machines that hold a network. The whole takes an hour or two; JOBS=2 in the environment runs two seeds at a time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "fpga.md"
TABLE = re.compile(r"(<!-- figures -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)
HEADING = "| what | used | clock reached | made with | command |\n| --- | --- | --- | --- | --- |\n"
RESNET = "resnet8_cifar10_int8.tflite"

ROWS = {
    "--board ulx3s-85f --array --clock 200 --seeds 5": ("8 x 8 array alone, LFE5U-85F, speed grade 6", "array"),
    f"{RESNET} --board ulx3s-85f --clock 120 --seeds 5": ("8 x 8 with ResNet-8 inside, ULX3S 85F", "8x8"),
    f"{RESNET} --board ulx3s-85f --rows 16 --cols 16 --clock 90 --seeds 5": (
        "16 x 16 with ResNet-8 inside, ULX3S 85F",
        "16x16",
    ),
    "--board tang-nano-9k --clock 27": ("the board's machine on a Tang Nano 9K, 2 x 2", ""),
    "--board icebreaker": ("the board's machine on an iCEBreaker, 2 x 1", ""),
}
"""arguments of ``etchnet build`` without the folder: the design that they build, and the name of its picture"""


def run(arguments: str, folder: Path) -> dict[str, Any]:
    """Run one build; return its report."""
    models = Path(os.environ.get("ETCHNET_MODELS", "."))
    words = [str(models / word) if word.endswith(".tflite") else word for word in arguments.split()]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "etchnet.host.cli.main",
            "build",
            *words,
            "-o",
            str(folder),
            "--jobs",
            os.environ.get("JOBS", "1"),
        ],
        check=True,
    )
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def line(what: str, arguments: str, report: dict[str, Any]) -> str:
    """Return one line of the table."""
    used, have, rates = report["used"], report["available"], report["fmax"]
    if "--array" in arguments:
        each = report["config"]["rows"] * report["config"]["columns"]
        resources = [f"{used[name] / each:.1f} {name}" for name in ("LUTs", "flip-flops")]
        resources.append(f"{used['multipliers'] / each:g} `MULT18X18D` per element")
    else:
        resources = [f"{used[name]:,} {name} of {most:,}" for name, most in have.items() if name in used]
    values, seeds = sorted(rates.values()), [int(seed) for seed in rates]
    clock = f"{report['fmax_median']:.1f} MHz, "
    if len(seeds) > 1:
        clock += f"the median of seeds {seeds[0]} to {seeds[-1]} ({values[0]:.1f} to {values[-1]:.1f})"
    else:
        clock += f"seed {seeds[0]}"
    if report["given_up"]:
        clock += f"; seed {', '.join(map(str, report['given_up']))} was not routed in time"
    if report["cycles"]:
        reached = min(report["clock"], report["fmax_median"])
        clock += f"; {report['cycles']:,} cycles an inference, {reached * 1e6 / report['cycles']:,.0f} a second at "
        clock += f"{reached:.1f} MHz"
    tools = ", ".join(report["tools"])
    return f"| {what} | {', '.join(resources)} | {clock} | {tools} | `etchnet build {arguments} -o out` |\n"


def main(words: list[str]) -> None:
    """Build the designs and write the page."""
    for arguments, (what, picture) in ROWS.items():
        if words and not any(word in arguments for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            report = run(arguments, Path(folder))
            if picture:
                shutil.copy(Path(folder) / "placement.svg", DOCS / f"placement-{picture}.svg")
        enter(arguments, line(what, arguments, report))


def enter(arguments: str, made: str) -> None:
    """Write one line into the page, in place of the line with the same command."""
    text = PAGE.read_text(encoding="utf-8")
    found = TABLE.search(text)
    assert found is not None
    lines = {old.rsplit("`", 2)[1]: f"{old}\n" for old in found[2].removeprefix(HEADING).splitlines()}
    commands = [f"etchnet build {arguments} -o out" for arguments in ROWS]
    lines[f"etchnet build {arguments} -o out"] = made
    table = HEADING + "".join(lines[command] for command in commands if command in lines)
    PAGE.write_text(TABLE.sub(lambda block: block[1] + table + block[3], text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
