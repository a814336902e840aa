"""The operators that an importer supports: one function each, registered by the names of its operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from etchnet.host.network.model import ModelError

__all__ = ["OperatorRegistry"]

Handler = TypeVar("Handler", bound=Callable[..., Any])


class OperatorRegistry(Generic[Handler]):
    """Handlers by operator name.

    An operator is added to an importer by one decorated function::

        @handles("Conv")
        def conv(context, node): ...
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def handles(self, *operators: str) -> Callable[[Handler], Handler]:
        """Register the decorated function for operators of these names."""

        def register(handler: Handler) -> Handler:
            for operator in operators:
                if operator in self._handlers:
                    raise ValueError(f"operator {operator} already has a handler, {self._handlers[operator].__name__}")
                self._handlers[operator] = handler
            return handler

        return register

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._handlers))

    def __contains__(self, operator: str) -> bool:
        return operator in self._handlers

    def handler(self, operator: str, where: str) -> Handler:
        """Return the handler of an operator; raises ModelError, whose message names `where`, if there is none."""
        if operator not in self._handlers:
            raise ModelError(
                f"{where} is not supported: the machine has no layer, and the host no step, for it; "
                f"supported are {', '.join(self)}"
            )
        return self._handlers[operator]
