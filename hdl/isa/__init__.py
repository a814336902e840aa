"""The contract between host and gateware: the machine's parameters, instructions, packets and counters.

A program is two flat lists. A *pass* holds one weight tile and streams pixels through it into an accumulator bank;
a *drain* reads accumulator rows through the output stage. A pass with `release` starts the next drain of the list.
There are no branches: every field is a constant, and every cycle count follows from the fields alone.
"""

from etchnet.hdl.isa.config import Config, ConfigError, sum_width
from etchnet.hdl.isa.contracts import CONTRACT_NUMBERS, CONTRACTS
from etchnet.hdl.isa.counters import COUNTER_BITS, Counter
from etchnet.hdl.isa.drains import Destination, Drain, Parameters
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.isa.instruction import Instruction, InstructionError
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.packets import (
    HEADER_WORDS,
    Header,
    RunCommand,
    Target,
    chunks,
    machine_hash,
    pack,
    pack_bytes,
    packet,
    stored_slice,
    unpack,
    word_bits,
)
from etchnet.hdl.isa.passes import Fold, Pass, Source, TileKind, is_stored
from etchnet.hdl.isa.walk import OUTSIDE, is_inside

__all__ = [
    "CONTRACTS",
    "CONTRACT_NUMBERS",
    "COUNTER_BITS",
    "HEADER_WORDS",
    "OUTSIDE",
    "Config",
    "ConfigError",
    "Counter",
    "Destination",
    "Drain",
    "EtchnetError",
    "Fold",
    "Header",
    "Instruction",
    "InstructionError",
    "Parameters",
    "Pass",
    "RunCommand",
    "Source",
    "Target",
    "TileKind",
    "ceil_div",
    "chunks",
    "is_inside",
    "is_stored",
    "machine_hash",
    "pack",
    "pack_bytes",
    "packet",
    "stored_slice",
    "sum_width",
    "unpack",
    "word_bits",
]
