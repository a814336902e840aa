"""The blocks of the package that are mutated, and which mutants a seed draws from each."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support.mutation.operators import Mutant, mutants, valid

LEAST = 20
"""mutants of each block, unless it has fewer"""

_CONTROL, _OUTPUT = "hdl/core/control", "hdl/core/output"

BLOCKS: dict[str, list[str]] = {
    "gateware: memories": ["hdl/blocks/banked_ram.py", "hdl/blocks/ram.py"],
    "gateware: small blocks": [
        *("hdl/blocks/amaranth_internals.py", "hdl/blocks/compare.py", "hdl/blocks/crc.py", "hdl/blocks/delay_line.py"),
        *("hdl/blocks/hierarchy.py", "hdl/blocks/scan_harness.py", "hdl/blocks/semaphore.py"),
    ],
    "gateware: technologies": ["hdl/blocks/technology/*.py"],
    "gateware: AXI": ["hdl/buses/axi.py", "hdl/buses/axi_lite.py"],
    "gateware: registers": ["hdl/buses/register*.py"],
    "gateware: machine": ["hdl/core/machine.py", "hdl/core/multipliers.py"],
    "gateware: accumulators": ["hdl/core/accumulators.py", "hdl/core/fold_router.py"],
    "gateware: activations": ["hdl/core/loadable_memory.py", "hdl/core/result_memory.py", "hdl/core/row_reader.py"],
    "gateware: array": ["hdl/core/array/array.py", "hdl/core/array/element.py"],
    "gateware: weights and pixels": [
        *("hdl/core/array/line_buffer.py", "hdl/core/array/pixel_reader.py", "hdl/core/array/weights.py"),
    ],
    "gateware: fetch": [f"{_CONTROL}/fetch.py"],
    "gateware: runs and tokens": [f"{_CONTROL}/counters.py", f"{_CONTROL}/runs.py", f"{_CONTROL}/tokens.py"],
    "gateware: loader": [f"{_CONTROL}/loader.py", f"{_CONTROL}/packet_reader.py"],
    "gateware: sender": [f"{_CONTROL}/sender.py"],
    "gateware: sequencer": [f"{_CONTROL}/sequencer.py"],
    "gateware: passes": [
        *(f"{_CONTROL}/image_walk.py", f"{_CONTROL}/pass_lookahead.py", f"{_CONTROL}/pass_timer.py"),
        f"{_CONTROL}/window_filter.py",
    ],
    "gateware: drains": [f"{_OUTPUT}/drain_walk.py"],
    "gateware: result rows": [f"{_OUTPUT}/row_collector.py", f"{_OUTPUT}/row_writer.py"],
    "gateware: requantiser": [
        *(f"{_OUTPUT}/operands.py", f"{_OUTPUT}/product.py", f"{_OUTPUT}/requantiser.py"),
        *(f"{_OUTPUT}/requantiser_bank.py", f"{_OUTPUT}/stage.py"),
    ],
    "gateware: scalers": [f"{_OUTPUT}/scalers/*.py"],
    "gateware: UART": ["hdl/serial/receiver.py", "hdl/serial/transmitter.py", "hdl/serial/uart.py"],
    "gateware: frames": [
        *("hdl/serial/answerer.py", "hdl/serial/deframer.py", "hdl/serial/escaper.py", "hdl/serial/framing.py"),
    ],
    "gateware: framed link": ["hdl/serial/framed_link.py", "hdl/serial/rings.py"],
    "gateware: targets": ["hdl/targets/tinytapeout.py", "hdl/targets/verilog.py"],
    "simulator: timing": ["sim/timing/*.py"],
    "simulator: arithmetic": ["sim/arithmetic/*.py"],
    "simulator: kernels": ["sim/functional/*.py"],
    "simulator: exact engine": ["sim/engines/exact/*.py"],
    "simulator: state": ["sim/state/*.py"],
    "compiler: emission": ["host/compiler/emit/*.py"],
    "compiler: lowering": [
        *(
            "host/compiler/lowering.py",
            "host/compiler/stages.py",
            "host/compiler/layout.py",
            "host/compiler/memory_map.py",
        ),
        *("host/compiler/im2col.py", "host/compiler/weight_tiles.py", "host/compiler/matmul_tiling.py"),
    ],
    "importers: shared": ["host/importers/*.py"],
    "importers: TensorFlow Lite": ["host/importers/tflite/*.py"],
    "importers: ONNX": ["host/importers/onnx/*.py"],
}
"""Patterns of the files of each block."""


def files(root: Path, block: str) -> list[str]:
    """Return the files of a block, relative to the root."""
    found = [path for pattern in BLOCKS[block] for path in sorted(root.glob(pattern))]
    return [path.relative_to(root).as_posix() for path in found]


def candidates(root: Path, block: str) -> list[Mutant]:
    """Return all mutants of a block."""
    return [mutant for path in files(root, block) for mutant in mutants(path, (root / path).read_bytes())]


def _shuffled(found: list[Mutant], sources: dict[str, bytes], seed: int) -> Iterator[Mutant]:
    """Yield mutants in random order, those of rare operators earlier: an operator's share is the root of its number.

    A mutant's place depends on the seed and its own text, so that most stay the same when the code changes. Of equal
    lines of a function, only the first is changed.
    """
    numbers = Counter(mutant.operator for mutant in found)
    texts: dict[str, Mutant] = {}
    for mutant in found:
        before, after = mutant.diff(sources[mutant.path])
        texts.setdefault(repr((seed, mutant.path, mutant.scope, mutant.operator, before, after)), mutant)

    def place(text: str) -> float:
        return random.Random(text).random() ** math.sqrt(numbers[texts[text].operator])

    yield from (texts[text] for text in sorted(texts, key=place, reverse=True))


def draw(root: Path, seed: int, count: int, blocks: list[str]) -> list[tuple[str, Mutant]]:
    """Draw `count` mutants with their blocks: `LEAST` of each block, the others in proportion to its size.

    The order is random too, so that the first of them are a sample of all. A larger count adds mutants to those of a
    smaller one.
    """
    found = {block: candidates(root, block) for block in blocks}
    total = sum(map(len, found.values()))
    drawn = []
    for block, all_of_it in found.items():
        number = LEAST + max(0, count - LEAST * len(blocks)) * len(all_of_it) // total
        sources = {path: (root / path).read_bytes() for path in files(root, block)}
        kept = (m for m in _shuffled(all_of_it, sources, seed) if valid(m, sources[m.path]))
        drawn += [(block, mutant) for _, mutant in zip(range(number), kept, strict=False)]
    random.Random(seed).shuffle(drawn)
    return drawn
