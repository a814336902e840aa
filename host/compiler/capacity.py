"""The memory needs of programs, and the error of a network that does not fit its machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etchnet.hdl.isa import Pass
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError
from etchnet.hdl.isa.numbers import ceil_div

__all__ = ["MEMORIES", "CapacityError", "Needs", "enough", "largest", "resized"]

MEMORIES = (
    "weight_tiles",
    "activation_words",
    "input_words",
    "output_words",
    "passes",
    "drains",
    "parameter_tiles",
    "accumulator_rows",
)
"""parameters of `Config` that a network may find too small; except for the last, a program's cycles do not depend on
them, so a program that fits a machine is also one for every machine in which these are larger"""


class CapacityError(EtchnetError, ValueError):
    """A network does not fit its machine; the message names everything that falls short.

    Attributes
    ----------
    short
        For each parameter of `Config` that is too small, a value that is enough: with all of them, the network fits.
        Empty if the error is not about these parameters. A value may be larger than any machine's: see `largest`.
    """

    def __init__(self, message: str, *, short: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.short: Mapping[str, int] = dict(short or {})

    @classmethod
    def of(cls, short: Mapping[str, int], config: Config, inputs: int) -> CapacityError:
        """Return the error for the parameters `short` of a machine that is too small for `inputs` inputs at once."""
        short = {name: short[name] for name in MEMORIES if name in short}
        parts = [_part(name, value, config) for name, value in short.items()]
        listed = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
        return cls(
            f"the machine is too small for {inputs} input{'s'[: inputs != 1]} of this network at once: {listed}",
            short=short,
        )


def _part(name: str, value: int, config: Config) -> str:
    if value > largest(name):
        return f"{name} would have to be {value}, but no machine has more than {largest(name)}"
    return f"{name} = {getattr(config, name)} ({value} is enough)"


def _limits() -> dict[str, Mapping[str, int]]:
    return {f.name: f.metadata for f in dataclasses.fields(Config)}


def largest(name: str) -> int:
    """Return the largest value that a parameter of `Config`, a whole number, may have."""
    return _limits()[name]["high"]


def enough(name: str, needed: int) -> int:
    """Return the smallest value of a parameter of `Config` that is at least `needed`; it may be above `largest`."""
    meta = _limits()[name]
    least = max(needed, meta["low"])
    return 1 << (least - 1).bit_length() if meta.get("power") else least


def resized(config: Config, values: Mapping[str, int]) -> Config:
    """Return `config` with some parameters set to new values. Raises ConfigError as `Config` does."""
    changes: dict[str, Any] = dict(values)
    return dataclasses.replace(config, **changes)


@dataclass(frozen=True)
class Needs:
    """The memory needs of a program or of a part of it.

    Attributes
    ----------
    sizes
        For each parameter of `Config` that matters, the smallest value that it may have.
    reach
        Words that the input or the activation memory must have, so that a pass can address a border around a tensor.
    """

    sizes: Mapping[str, int]
    reach: int = 0

    @classmethod
    def tensors(cls, *, input_words: int, output_words: int, activation_words: int) -> Needs:
        """Return the needs of tensors that take this many words of the memories."""
        words = {"input_words": input_words, "output_words": output_words, "activation_words": activation_words}
        return cls({name: enough(name, needed) for name, needed in words.items()})

    @classmethod
    def code(
        cls, passes: Sequence[Pass], drains: int, weight_words: int, parameter_words: int, config: Config
    ) -> Needs:
        """Return the needs of a program's passes, of its number of drains, and of its weights and parameters."""
        counts = {
            "weight_tiles": ceil_div(weight_words, config.load_cycles),
            "parameter_tiles": ceil_div(parameter_words, config.groups),
            "passes": len(passes),
            "drains": drains,
        }
        return cls({name: enough(name, needed) for name, needed in counts.items()}, _reach(passes))

    def __or__(self, other: Needs) -> Needs:
        return Needs({**self.sizes, **other.sizes}, max(self.reach, other.reach))

    def short(self, config: Config) -> dict[str, int]:
        """Return the parameters of a machine that are too small, with the smallest values that are enough."""
        found = {name: needed for name, needed in self.sizes.items() if needed > getattr(config, name)}
        if self.reach > max(
            max(getattr(config, name), found.get(name, 0)) for name in ("activation_words", "input_words")
        ):
            found["activation_words"] = self.reach
        return {name: found[name] for name in MEMORIES if name in found}


def _reach(passes: Sequence[Pass]) -> int:
    """Return the smallest number of words of a memory that gives every pass the bits for its addresses."""
    # Fields for counts up to `words` have as many bits as `words`; see `count_shape` and `signed_address_shape`.
    count = max((max(p.step, p.line) for p in passes), default=0)
    low, high = min((p.address for p in passes), default=0), max((p.address for p in passes), default=0)
    bits = max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length())
    return max(1 << max(0, count.bit_length() - 1), (1 << bits - 1) + 1 if bits else 0)
