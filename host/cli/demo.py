"""`etchnet demo`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import (
    clock_for,
    clock_option,
    compiled_for,
    engine_option,
    engine_options,
    json_option,
    machine_options,
)
from etchnet.host.cli.output import (
    in_unicode,
    machine_text,
    measured_text,
    plural,
    print_json,
    print_table,
    progress,
    rate_text,
    shares_text,
)

if TYPE_CHECKING:
    from etchnet.host.data.fashion import Split
    from etchnet.host.demo.demo import DemoResult, RtlCheck
    from etchnet.host.reports.cpu import Cpu

__all__ = ["demo"]

_PICTURE_WIDTH, _PICTURE_GAP, _MOST_PICTURES = 28, 3, 4


@click.command()
@engine_option
@click.option(
    "--batch", type=click.IntRange(1), help="Images that are computed together.  [the best power of two up to 16]"
)
@click.option("--images", type=click.IntRange(1), help="Number of images to classify.  [all]")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the Fashion-MNIST files; classifies their 10,000 test images instead of the packaged ones.",
)
@clock_option
@machine_options
@json_option
def demo(
    config: Config, engine: str, batch: int | None, images: int | None, data: Path | None, clock: float, as_json: bool
) -> None:
    """Classify images on the simulated chip, and check the RTL.

    The images show clothing (Fashion-MNIST), and none of them was used in training. One convolution of the network also
    runs on the RTL in Amaranth's simulator, which must agree with the exact engine in every bit and every counter.
    """
    from etchnet.host.data import fashion
    from etchnet.host.demo.demo import check_on_rtl, run_demo
    from etchnet.host.driver.driver import Accelerator
    from etchnet.host.reports.cpu import Cpu
    from etchnet.sim.engines.link import Disagreement

    cpu = Cpu.now()
    split = fashion.read_split(data, "t10k") if data else fashion.held_out()
    if images is not None:
        split = split.first(images)
    with progress(quiet=as_json) as report:
        report(f"classifying {len(split.labels)} images on {engine}")
        program = compiled_for(config, fashion.network(), batch=batch or 1)
        accelerator = Accelerator(program.config, engine=engine, **engine_options(engine, report))
        with contextlib.closing(accelerator.engine):
            result = run_demo(split, accelerator, program, batch=batch)
        report("checking a convolution on the RTL in Amaranth's simulator")
        check = check_on_rtl(split)
    if not check.equal:
        raise Disagreement("the RTL and the exact engine differ in a convolution: please report this")
    hertz, origin = clock_for(accelerator.engine, clock)
    if as_json:
        print_json(result.to_dict(hertz) | {"rtl_check": check.to_dict(), "this_cpu": dataclasses.asdict(cpu)})
        return
    _draw(split, result.answers)
    _print_result(result, hertz, origin, cpu)
    _print_check(check)


def _print_result(result: DemoResult, hertz: float, origin: str, cpu: Cpu) -> None:
    click.echo(f"engine       {result.engine}: {machine_text(result.config)}")
    click.echo(
        f"accuracy     {result.accuracy:.2%} of {plural(result.images, 'held-out image')} "
        f"(same answers as numpy: {result.numpy_agreement:.2%})"
    )
    click.echo()
    rows = [
        ("cycles per image", f"{result.cycles_alone:,.0f}", f"{result.cycles_together:,.0f}"),
        ("utilisation", f"{result.alone.utilisation:.1%}", f"{result.together.utilisation:.1%}"),
        (
            f"images/s, chip at {hertz / 1e6:g} MHz ({origin})",
            f"{hertz / result.cycles_alone:,.0f}",
            f"{hertz / result.cycles_together:,.0f}",
        ),
        *((f"images/s, {name} of this CPU", *map(rate_text, both)) for name, both in result.cpu.items()),
    ]
    print_table(("", "one image alone", f"{result.batch} at once"), rows)
    if len(result.cpu) == 1:
        click.echo("to compare with LiteRT, an int8 runtime for CPUs: pip install 'etchnet[bench]'")
    click.echo(measured_text(cpu))
    click.echo()
    click.echo(f"where the cycles go, {result.batch} at once: {shares_text(result.together.shares())}")


def _print_check(check: RtlCheck) -> None:
    (kernel_rows, kernel_columns), (height, width) = check.kernel, check.pixels
    click.echo(
        f"RTL check    a {kernel_rows} x {kernel_columns} convolution of {height} x {width} pixels, {check.channels} "
        f"channels in and out, on an {check.rows} x {check.columns} array:"
    )
    click.echo(f"             {check.cycles} cycles in Amaranth's simulator, equal in every bit and every counter")


def _draw(split: Split, answers: np.ndarray) -> None:
    """Draw the first images side by side, at most four and no more than fit, with the answers below them."""
    from rich.console import Console

    from etchnet.host.data.fashion import CLASSES
    from etchnet.host.demo.terminal_picture import side_by_side, sketch

    room = (Console().width + _PICTURE_GAP) // (_PICTURE_WIDTH + _PICTURE_GAP)
    count = max(1, min(_MOST_PICTURES, room, len(answers)))
    pictures = [sketch(image, unicode=in_unicode()) for image in split.images[:count]]
    for line in side_by_side(pictures, _captions(answers[:count], split.labels, CLASSES), gap=_PICTURE_GAP):
        click.echo(line)
    click.echo()


def _captions(answers: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    return [
        f"{classes[answer]} ({'right' if answer == label else f'wrong: {classes[label]}'})"
        for answer, label in zip(answers, labels, strict=False)
    ]
