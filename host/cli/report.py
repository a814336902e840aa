"""`etchnet report`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import (
    MODEL_HELP,
    LazyChoice,
    batch_option,
    clock_option,
    compiled_for,
    given_parameters,
    json_option,
    machine_options,
    refuse,
)
from etchnet.host.cli.output import machine_text, print_json, print_table, progress
from etchnet.host.cli.subject import GEMM, product_options, subject

if TYPE_CHECKING:
    from etchnet.host.compiler.program import Program
    from etchnet.host.reports.report import LayerReport, ModelReport

__all__ = ["report"]


def _packings() -> list[str]:
    from etchnet.host.compiler.im2col import PACKINGS

    return list(PACKINGS)


def _stages() -> list[str]:
    from etchnet.host.compiler.compile import PIPELINE

    return [stage.name for stage in PIPELINE]


@click.command(epilog=MODEL_HELP)
@click.argument("model")
@batch_option
@click.option("--passes", is_flag=True, help="List every pass.")
@click.option("--overflow", is_flag=True, help="List the largest sums that any input can cause, by layer.")
@click.option(
    "--fit", "smallest", is_flag=True, help="Shrink the memories that no option sets to what the model needs."
)
@click.option(
    "--packed",
    type=LazyChoice(_packings),
    help="What the host packs side by side: nothing, the taps of a kernel row, all taps, or neighbouring pixels.  "
    "[fastest]",
)
@click.option(
    "--dump-after",
    "stage",
    type=LazyChoice(_stages),
    help="Print the result of a compiler stage, and nothing else.",
)
@product_options
@clock_option
@machine_options
@json_option
def report(
    model: str,
    config: Config,
    batch: int,
    passes: bool,
    overflow: bool,
    smallest: bool,
    packed: str | None,
    stage: str | None,
    clock: float,
    as_json: bool,
    **product: Any,
) -> None:
    """Predict a model's cycles, memory use and limits without a run.

    The prediction is exact. It shows how long the model takes, what every cycle is spent on, how much of each memory is
    used, and whether any input can cause an overflow. MODEL may also be "gemm", a product of random matrices, or of --a
    and --b.
    """
    from etchnet.host.compiler.capacity import CapacityError
    from etchnet.host.compiler.compile import compile_network, dump_after
    from etchnet.host.compiler.dump import as_text
    from etchnet.host.reports.fit import fitted
    from etchnet.host.reports.report import ModelReport

    if stage is not None:
        refuse("with --dump-after, which prints nothing else", "passes", "overflow", "clock")
    with progress(quiet=as_json) as say:
        say(f"loading {model}")
        what = subject(model, config, batch=batch, **product)
    network, machine, batch = what.model.network, what.config, what.batch

    def compiled() -> Program:
        if smallest:
            return fitted(network, machine, batch=batch, packed=packed, keep=given_parameters())
        return compiled_for(machine, network, batch=batch, packed=packed)

    with progress(quiet=as_json) as say:
        say("compiling")
        start = time.perf_counter()
        if stage is not None:
            # Stages before the last ones have results on a machine that is too small, too.
            with contextlib.suppress(CapacityError):
                machine = compiled().config
            result = dump_after(stage, network, machine, batch=batch, packed=packed)
        else:
            program = repeatable = compiled()
            if what.once:
                variant = repeatable.im2col.name
                program = compile_network(network, repeatable.config, batch=batch, packed=variant, once=True)
            found = ModelReport.of(what.model, program, time.perf_counter() - start, repeatable=repeatable)
    if stage is not None:
        print_json(result) if as_json else click.echo(as_text(result))
        return
    if as_json:
        print_json(found.to_dict(clock * 1e6, passes=passes))
        return
    _print_cycles(found, clock)
    _print_layers(found, "a larger product" if model == GEMM else "a larger --batch")
    _print_memories(found)
    _print_overflow(found, every=overflow)
    if passes:
        click.echo()
        _print_passes(found)


def _print_cycles(found: ModelReport, clock: float) -> None:
    from etchnet.host.compiler.im2col import PACKINGS

    program, config = found.program, found.program.config
    click.echo(f"{found.model.name} on a {machine_text(config)}; {program.batch} at once")
    click.echo(
        f"{found.total.cycles:,} cycles from operands in memory to the last result, {found.back_to_back:,} back to "
        f"back: {found.per_second(clock * 1e6):,.0f} inputs/s at {clock:g} MHz (simulated); "
        f"compiled in {found.compile_seconds:.1f} s"
    )
    link_in, link_out = program.link_cycles()
    click.echo(
        f"input sent {PACKINGS[program.im2col.name]}: {program.input_words * config.rows:,} bytes, "
        f"{link_in:,} link cycles in and {link_out:,} out"
    )
    click.echo()


def _print_layers(found: ModelReport, more: str) -> None:
    config, total = found.program.config, found.total
    names = [name for name in total.slots if any(layer.slots[name] for layer in found.layers)]

    def row(layer: LayerReport) -> list[str]:
        title = layer.name if layer.index < 0 else f"{layer.index} {layer.name}"
        return [title, f"{layer.passes:,}", f"{layer.cycles:,}", *(f"{layer.shares[name]:.1%}" for name in names)]

    headings = ("layer", "passes", "cycles", *(name.replace("_", " ") for name in names))
    print_table(headings, map(row, (*found.layers, total)), width=120, widest=34)
    click.echo()
    limits: dict[str, list[str]] = {}
    for layer in found.layers:
        limits.setdefault(layer.limit(config, more=more), []).append(str(layer.index))
    for limit, which in limits.items():
        click.echo(f"layer{'s'[: len(which) != 1]} {', '.join(which)} limited by {limit}")
    click.echo()


def _print_memories(found: ModelReport) -> None:
    parts = ", ".join(f"{name} {count}" for name, count in found.block_rams.items() if count)
    click.echo(f"memories as block RAMs of an ECP5 (estimated): {sum(found.block_rams.values())}, of which {parts}")
    for m in found.memories:
        click.echo(f"{m.name:24} {m.used:>9,} of {m.available:>9,} ({m.used / m.available:.0%})")
    click.echo()


def _print_overflow(found: ModelReport, *, every: bool) -> None:
    """Print whether anything can overflow, and the bounds of the layers in question, or of `every` layer."""
    broken = [str(c.layer) for c in found.certificates if not c.holds]
    if broken:
        click.echo(f"overflow: some int8 input may overflow layer{'s'[: len(broken) != 1]} {', '.join(broken)}")
    else:
        click.echo("overflow: impossible in every layer, whatever the input" + (" (bounds: --overflow)" * (not every)))
    shown = [c for c in found.certificates if every or not c.holds]
    if shown:
        rows = [
            [f"{c.layer} {found.model.names[c.layer]}"]
            + [f"{low:,} to {high:,}" for low, high in (c.sums, c.accumulators, c.shifted)]
            + ["yes" if c.holds else "NO"]
            for c in shown
        ]
        bits = f"array sums, {shown[0].sum_bits} bits"
        headings = ("layer", bits, "accumulators, 32 bits", "after the left shift, 32 bits", "fit")
        print_table(headings, rows, width=140, widest=34)


def _print_passes(found: ModelReport) -> None:
    """Print one line per pass; each column is as wide as its widest cell."""
    from etchnet.host.reports.report import pass_rows

    rows: Sequence[dict[str, Any]] = pass_rows(found.program)
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
