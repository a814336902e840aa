"""What the block RAMs of an ECP5 hold: by a netlist, and by a bitstream. 2,048 words of 9 bits each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etchnet.host.fpga.families import FAMILIES


def contents(cell: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the initial words of a `DP16KD` of a netlist: 16 words of 18 bits, 20 bits apart, to a parameter."""
    words = []
    for index in range(64):
        bits = int(cell["parameters"][f"INITVAL_{index:02X}"], 2)
        for word in range(16):
            pair = bits >> 20 * word
            words += [pair & 0x1FF, pair >> 9 & 0x1FF]
    return tuple(words)


def unpacked(folder: Path) -> list[tuple[int, ...]]:
    """Unpack `etchnet.bit` in a folder and return the words of every block RAM in it, in any order."""
    FAMILIES["ecp5"].unpacker.run(
        ["--input", "etchnet.bit", "--textcfg", "unpacked.config"], folder=folder, log="unpack.log"
    )
    text = (folder / "unpacked.config").read_text()
    found = re.findall(r"^\.bram_init \d+\n((?:[0-9a-f ]+\n)+)", text, re.MULTILINE)
    return sorted(tuple(int(word, 16) for word in block.split()) for block in found)
