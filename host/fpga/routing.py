"""Place and route with several seeds, in parallel processes."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from etchnet.host.fpga.request import BuildRequest, Progress
from etchnet.host.fpga.resources import DoesNotFitError, after_packing, check_fits
from etchnet.host.fpga.synthesis import Netlist
from etchnet.host.tools.tool import TookTooLongError, ToolError

__all__ = ["route_all"]

_STEP = re.compile(r"Info: +(Packing|Placing|Running|Routing|HeAP|SA placement|Max frequency)[^.]*")
_ROUND = re.compile(r"iter=(\d+) .*overused=(\d+)")
"""line that nextpnr's router2 prints for each iteration"""


def route_all(request: BuildRequest, folder: Path, netlist: Netlist, report: Progress) -> dict[int, float]:
    """Place and route a netlist with every seed, `request.jobs` at a time.

    Names of files contain the seed: `placed.SEED.*`, `timing.SEED.json`, `nextpnr.SEED.log`.

    Returns
    -------
    Clock in MHz that each seed reached, without seeds that exceeded the time limit.

    Raises
    ------
    DoesNotFitError
        The design has too many logic cells after packing, or nextpnr finds no placement.
    ToolError
        nextpnr failed, or no seed was routed in time.
    """
    stopped = Event()
    with ThreadPoolExecutor(request.jobs) as pool:
        routes = {seed: pool.submit(_route, request, folder, netlist, seed, report, stopped) for seed in request.seeds}
        try:
            reached = {seed: route.result() for seed, route in routes.items()}
        except BaseException:
            # Running processes are killed when they print their next line; queued ones never start.
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    fmax = {seed: mhz for seed, mhz in reached.items() if mhz is not None}
    if not fmax:
        raise ToolError(
            f"{request.family.router.name} routed none of {len(reached)} seeds within {request.limit:g} s",
            log=folder / f"nextpnr.{request.seeds[0]}.log",
        )
    return fmax


def _route(
    request: BuildRequest, folder: Path, netlist: Netlist, seed: int, report: Progress, stopped: Event
) -> float | None:
    """Place and route with one seed, until `stopped`; return the clock in MHz, or None after the time limit."""
    family, board = request.family, request.board
    packed: dict[str, int] = {}

    def watch(line: str) -> None:
        if stopped.is_set():
            raise InterruptedError("place and route was stopped")
        if logic := after_packing(line, family):
            packed["logic cells"] = packed.get("logic cells", 0) + logic["logic cells"]
            check_fits(board, packed)
        if step := _STEP.search(line):
            report(f"seed {seed}: {step[0].removeprefix('Info:').strip()}")
        elif found := _ROUND.search(line):
            report(f"seed {seed}: routing, round {found[1]}, {int(found[2]):,} overused wires")

    arguments = ["--json", "netlist.json", "--seed", str(seed), "--freq", f"{netlist.clock:g}", "--timing-allow-fail"]
    arguments += ["--report", f"timing.{seed}.json", "--write", f"placed.{seed}.json", *netlist.options]
    arguments += [*family.place_arguments(board), *family.placed_arguments(f"placed.{seed}")]
    try:
        family.router.run(arguments, folder=folder, log=f"nextpnr.{seed}.log", watch=watch, limit=request.limit)
    except TookTooLongError:
        return None
    except ToolError as error:
        if "legal placement" in str(error) and packed:
            cells = f"{packed['logic cells']:,} logic cells of {board.device.luts:,}"
            raise DoesNotFitError(
                f"the machine does not fit the {board.name}: no placement was found with {cells}"
            ) from None
        raise
    timing = json.loads((folder / f"timing.{seed}.json").read_text())
    # nextpnr reports only the machine's clock, because the oscillator drives only the PLL.
    return min(found["achieved"] for found in timing["fmax"].values())
