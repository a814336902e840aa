"""FPGA builds: synthesis, place and route, and packing of the bitstream, with tools that pip installs."""

from __future__ import annotations

import json
from pathlib import Path

from etchnet.hdl.targets.files import replacing, write_text
from etchnet.host.fpga.placement import placement_svg
from etchnet.host.fpga.request import BuildReport, BuildRequest, Progress
from etchnet.host.fpga.resources import after_packing, check_fits
from etchnet.host.fpga.routing import route_all
from etchnet.host.fpga.synthesis import Netlist, synthesise
from etchnet.host.tools.yosys import YOSYS

__all__ = ["build", "needs"]


def build(request: BuildRequest, folder: Path, *, report: Progress = lambda text: None) -> BuildReport:
    """Build a machine in `folder`, where all files and logs are kept; `report` is called with each step.

    Raises
    ------
    DoesNotFitError
        The device is too small; the message names the resources that are exceeded.
    ToolError
        A tool is missing or failed, or no seed was routed in time.
    """
    family, board = request.family, request.board
    for tool in (YOSYS, family.router, family.packer, family.pll):
        tool.command()
    folder.mkdir(parents=True, exist_ok=True)
    # If this build fails, files of an earlier one could be mistaken for its results.
    bitstream = f"etchnet.{family.bitstream}"
    for name in (bitstream, "report.json", "machine.toml", "placement.svg"):
        (folder / name).unlink(missing_ok=True)
    netlist = synthesise(request, folder, report)
    fmax = route_all(request, folder, netlist, report)
    seed = max(fmax, key=lambda seed: fmax[seed])
    _keep(folder, seed)
    if not request.array:
        report("packing the bitstream")
        with replacing(folder / bitstream) as path:
            family.packer.run(family.pack_arguments(board, path.name), folder=folder, log="pack.log")
    result = _result(request, netlist, fmax, seed, (folder / "nextpnr.log").read_text())
    machine = f"{request.config.rows} x {request.config.columns}{' array' if request.array else ''}"
    title = f"{board.name}: {machine}, {fmax[seed]:.1f} MHz, seed {seed}"
    write_text(folder / "placement.svg", placement_svg(folder / "placed.json", board.device.grid, title))
    write_text(folder / "report.json", json.dumps(result.to_dict(), indent=2) + "\n")
    write_text(folder / "machine.toml", request.config.to_toml())
    return result


def needs(request: BuildRequest, folder: Path, *, report: Progress = lambda text: None) -> dict[str, int]:
    """Return the resources that a build needs, by name, from synthesis and packing in `folder`, without placement.

    Raises
    ------
    DoesNotFitError
        The device is too small; the message names the resources that are exceeded.
    ToolError
        A tool is missing or failed.
    """
    family, board = request.family, request.board
    netlist = synthesise(request, folder, report)
    report("packing cells")
    arguments = ["--json", "netlist.json", "--pack-only", *family.place_arguments(board)]
    log = family.router.run(arguments, folder=folder, log="packing.log")
    found = {**after_packing(log, family), **netlist.used}
    check_fits(board, found, board.device.placeable)
    return found


def _keep(folder: Path, seed: int) -> None:
    """Remove the seed from the names of one seed's files, and delete the placed netlists of all other seeds."""
    for stem in ("placed", "nextpnr", "timing"):
        for path in folder.glob(f"{stem}.{seed}.*"):
            path.replace(folder / f"{stem}{path.suffix}")
    for path in folder.glob("placed.*.*"):
        path.unlink()


def _result(request: BuildRequest, netlist: Netlist, fmax: dict[int, float], seed: int, log: str) -> BuildReport:
    """Return the report of a build; `log` is nextpnr's log for `seed`."""
    family, board = request.family, request.board
    return BuildReport(
        board=board.name,
        top=netlist.top,
        config=request.config,
        clock=netlist.clock,
        fmax=fmax,
        seed=seed,
        given_up=[other for other in request.seeds if other not in fmax],
        used=netlist.used if request.array else {**after_packing(log, family), **netlist.used},
        # An array alone is not packed into logic cells.
        available={k: v for k, v in board.device.resources.items() if k != "logic cells" or not request.array},
        cycles=request.program.repeat_cycles if request.program else None,
        batch=request.program.batch if request.program else 1,
        tools=sorted({tool.version() for tool in (YOSYS, family.router, family.packer)}),
    )
