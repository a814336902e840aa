"""The error of a network that does not fit its machine."""

from __future__ import annotations

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.errors import EtchnetError

__all__ = ["CapacityError", "require"]


class CapacityError(EtchnetError, ValueError):
    """A network does not fit its machine; the message names the memory, the words needed and those available.

    Attributes
    ----------
    memory
        The parameter of `Config` that is too small; empty if the error is not about a single memory.
    needed
        The smallest value of this parameter that would be enough; 0 if it is not known.
    """

    def __init__(self, message: str, *, memory: str = "", needed: int = 0) -> None:
        super().__init__(message)
        self.memory, self.needed = memory, needed

    @classmethod
    def of(cls, memory: str, needed: int, config: Config, inputs: int) -> CapacityError:
        """Return the error for a memory that needs `needed` words for `inputs` inputs at once.

        `memory` names a parameter of `Config`.
        """
        available = getattr(config, memory)
        enough = 1 << (needed - 1).bit_length() if memory in ("input_words", "output_words") else needed
        return cls(
            f"{memory}: {needed} needed for {inputs} input{'s'[: inputs != 1]} at once, but the machine has "
            f"{available}; {memory} = {enough} is enough",
            memory=memory,
            needed=needed,
        )


def require(memory: str, needed: int, config: Config, images: int) -> None:
    """Raise CapacityError if `memory`, a parameter of `Config`, is less than `needed`, for `images` inputs at once."""
    if needed > getattr(config, memory):
        raise CapacityError.of(memory, needed, config, images)
