"""The subject of a command: a model and its inputs, or a product of matrices, whose MODEL is `gemm`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.host.cli.options import UsageError, machine_for, refuse

if TYPE_CHECKING:
    from etchnet.host.importers.load import Inputs
    from etchnet.host.network.model import Model

__all__ = ["GEMM", "Subject", "inputs_of", "product_options", "range_texts", "subject"]

GEMM = "gemm"
"""MODEL that stands for a product of matrices"""

_LARGEST_SIZE = 512


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, its machine and its inputs."""

    model: Model
    config: Config
    x: np.ndarray
    """inputs, int8 (M, input_size)"""
    batch: int
    """inputs that are computed together"""
    once: bool
    """whether the program needs no idle cycles between repeats, as that of a product that one repeat computes"""


def product_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that describe a product; the command passes them on to `subject` as keyword arguments."""
    matrix = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
    for option in (
        click.option(
            "--size", type=click.IntRange(1, _LARGEST_SIZE), default=64, show_default=True, help="M, K and N of gemm."
        ),
        click.option("--b", "b", type=matrix, help="Second matrix of gemm, K x N."),
        click.option(
            "--a",
            "a",
            type=matrix,
            help="First matrix of gemm, M x K: .npy, .txt or .csv, with whole numbers from -128 to 127.  [random]",
        ),
    ):
        function = option(function)
    return function


def subject(
    name: str,
    config: Config,
    *,
    a: Path | None,
    b: Path | None,
    size: int,
    batch: int = 1,
    source: Sequence[Path] = (),
    limits: tuple[float, float] | None = None,
    count: int = 1,
) -> Subject:
    """Load what the current command runs, and refuse its options that describe something else.

    Parameters
    ----------
    name
        The command's MODEL.
    a, b, size
        Options of a product.
    batch, source, limits, count
        Options of a model's inputs: files and the range of pictures, or the number of random ones.

    Raises
    ------
    UsageError
        An option that the user gave would have no effect.
    EtchnetError
        A file cannot be read, or the machine is too small for the product.
    """
    if name == GEMM:
        return _product(config, a, b, size)
    refuse("unless MODEL is gemm", "a", "b", "size")
    from etchnet.host.importers.load import load_model

    model = load_model(name)
    if source:
        refuse("with --input, which has inputs of its own", "count")
    x = inputs_of(model, source, limits, count)
    return Subject(model, machine_for(config, model.network), x, batch, once=False)


def inputs_of(model: Model, source: Sequence[Path], limits: tuple[float, float] | None, count: int = 1) -> np.ndarray:
    """Load a model's inputs from the files of --input, or return `count` random ones if there are none."""
    from etchnet.host.importers.load import load_inputs
    from etchnet.host.reports.compare import default_inputs

    if not source:
        refuse("without --input", "limits")
        return default_inputs(model, count)
    found = load_inputs(source, model, limits=limits)
    if not found.ranges:
        refuse("unless an input is a picture", "limits")
    for line in range_texts(found, limits):
        click.echo(line, err=True)
    return found.x


def range_texts(inputs: Inputs, limits: tuple[float, float] | None) -> list[str]:
    """Return a line for each picture that says how its pixels were read; `limits` are those of --range."""
    from etchnet.host.importers.pictures import USUAL_RANGES

    lines = []
    for name, (low, high) in inputs.ranges.items():
        line = f"pixels 0 to 255 of {name} are read as {low:g} to {high:g}"
        if limits is None and (low, high) not in USUAL_RANGES:
            line += ", all that the input holds, which is no usual range"
        lines.append(line if limits else f"{line}; --range sets another range")
    return lines


def _product(config: Config, a: Path | None, b: Path | None, size: int) -> Subject:
    from etchnet.host.importers.arrays import read_array
    from etchnet.host.reports.product import given_product, random_product

    refuse("on gemm, whose inputs are all rows of the first matrix (--a)", "source", "limits", "count", "batch")
    if (a is None) != (b is None):
        raise UsageError("--a and --b must be given together")
    if a is None or b is None:
        product = random_product(size, config)
    else:
        refuse("with --a and --b, which have sizes of their own", "size")
        product = given_product(read_array(a), read_array(b), config)
    return Subject(product.model, config, product.x, product.batch, product.once)
