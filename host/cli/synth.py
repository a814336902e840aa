"""`etchnet synth`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import click

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.files import write_text
from etchnet.host.asic.liberty import LibertyError
from etchnet.host.asic.synth import ELEMENT, MACHINE, Synthesis, synthesise
from etchnet.host.cli.options import UsageError, json_option, machine_on, machine_options, refuse
from etchnet.host.cli.output import print_json, print_table, progress
from etchnet.host.tools.yosys import SynthesisError

__all__ = ["synth"]


@click.command()
@click.option(
    "--liberty",
    "libraries",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Liberty file of a standard-cell library, plain or .gz; repeatable.  [generic gates of Yosys]",
)
@click.option(
    "--top",
    metavar="BLOCK",
    default=MACHINE,
    show_default=True,
    help="Block to synthesise: machine, array, element, or any module.",
)
@click.option("--flatten-memories", is_flag=True, help="Build memories from flip-flops; only for tiny memories.")
@click.option(
    "--tinytapeout",
    "tile",
    is_flag=True,
    help="Synthesise the design of `etchnet flow tinytapeout`, including the tile's pins.",
)
@click.option(
    "--dont-use", "unused", multiple=True, metavar="PATTERN", help="Library cells that must not be used; repeatable."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for the log and the netlist."
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@machine_options
@json_option
def synth(
    config: Config,
    libraries: Sequence[Path],
    top: str,
    flatten_memories: bool,
    tile: bool,
    unused: Sequence[str],
    output: Path | None,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Synthesise for a standard-cell library: area and longest path.

    Runs Yosys, without a layout, and prints the area of every block, the memory bits and the longest path.
    """
    if as_json and as_markdown:
        raise UsageError("--json and --markdown cannot be given together")
    if tile:
        refuse("with --tinytapeout, whose memories are flip-flops in any case", "flatten_memories")
    if not libraries:
        refuse("without --liberty", "unused")
    design = None
    with progress(quiet=as_json) as report:
        if tile:
            from etchnet.hdl.targets.tinytapeout import TinyTapeout
            from etchnet.hdl.targets.verilog import generate
            from etchnet.host.flows.processes import TILE

            report("generating Verilog")
            config = machine_on(dataclasses.asdict(TILE))
            design, flatten_memories = generate(config, wrapper=TinyTapeout), True
        try:
            found = synthesise(
                config,
                libraries=libraries,
                top=top,
                flatten_memories=flatten_memories,
                unused=unused,
                folder=output,
                report=report,
                design=design,
            )
        except (SynthesisError, LibertyError) as error:
            log = f" ({output / 'yosys.log'})" if output and getattr(error, "log", None) else ""
            raise UsageError(f"{error}{log}") from None
    if output is not None:
        write_text(output / "synth.json", json.dumps(found.to_dict(), indent=2) + "\n")
    if as_json:
        print_json(found.to_dict())
        return
    rows = _rows(found)
    if as_markdown:
        _print_markdown(rows)
    else:
        print_table(rows[0], rows[1:], width=140)
    for line in _lines(found):
        click.echo(line)


def _print_markdown(rows: Sequence[Sequence[str]]) -> None:
    click.echo("| " + " | ".join(rows[0]) + " |")
    click.echo("|" + " --- |" + " ---: |" * (len(rows[0]) - 1))
    for row in rows[1:]:
        click.echo("| " + " | ".join(row) + " |")
    click.echo()


def _rows(found: Synthesis) -> list[list[str]]:
    """Return the table: a row per block, largest first, without the blocks inside it; all elements share a row."""
    areas = ["area of one", "area of all", "share"] if found.libraries else []
    unit = "ns" if found.libraries else "gates"
    head = ["block, without its parts", "instances", "cells", "flip-flops", *areas, f"longest path to it, {unit}"]
    rows = [head]
    elements = [block for block in found.blocks if block.name.startswith(ELEMENT)]
    shown = [(block.name, block, found.ending_in(block.name)) for block in found.blocks if block not in elements]
    if mean := found.group(ELEMENT):
        name = f"{ELEMENT}, {len(elements)} kinds, mean" if len(elements) > 1 else elements[0].name
        longest = [path for block in elements if (path := found.ending_in(block.name)) is not None]
        shown.append((name, mean, max(longest, default=None)))
    for name, block, path in sorted(shown, key=lambda s: (-s[1].total_area, -s[1].cells * s[1].instances)):
        row = [name, f"{block.instances:,}", f"{block.cells:,}", f"{block.flip_flops:,}"]
        if found.libraries:
            row += [f"{block.area:,.0f}", f"{block.total_area:,.0f}", f"{block.total_area / found.area:.1%}"]
        row.append("" if path is None else f"{path:.2f}" if found.libraries else f"{path:.0f}")
        rows.append(row)
    total = ["all", "", f"{found.cells:,}", f"{found.flip_flops:,}"]
    rows.append(total + (["", f"{found.area:,.0f}", "100.0%"] if found.libraries else []) + [""])
    return rows


def _lines(found: Synthesis) -> list[str]:
    c, path, element = found.config, found.path, found.group(ELEMENT)
    lines = [
        f"{found.top} of the {c.rows} x {c.columns} machine, {c.requantisers} requantisers, W = {c.weight_rows}; "
        f"{found.tool}, {', '.join(found.libraries) or 'gates of two inputs'}"
    ]
    if element:
        area = f", area {element.area:,.0f}" if found.libraries else ""
        lines.append(f"a processing element: {element.cells:,} cells, {element.flip_flops:,} of them flip-flops{area}")
    if found.memories:
        sizes = ", ".join(f"{m.count} of {m.words:,} x {m.bits} ({m.name})" for m in found.memories)
        lines.append(f"memories left to macros: {found.memory_bits:,} bits, {sizes}")
    elif any(block.name == "ram" for block in found.blocks):
        lines.append("memories are built from flip-flops")
    if path is not None:
        length = f"{path.delay * found.nanoseconds:.2f} ns, " if found.libraries else ""
        lines.append(f"longest path: {length}{path.levels} gates, from {path.start} to {path.end}")
    if found.megahertz is not None:
        lines.append(
            f"estimated clock without wires, before layout: {found.megahertz:.0f} MHz at the libraries' corner"
        )
    return lines
