"""Refusal of the operators for which there is no handler, all at once, with what each of them would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etchnet.host.importers.registry import OperatorRegistry
from etchnet.host.importers.tflite.reader import Operator
from etchnet.host.network.model import ModelError

__all__ = ["refuse_unsupported"]

_MOST_NAMED = 3
_REASONS = {
    "the network keeps state between runs, and the machine keeps nothing": (
        "ASSIGN_VARIABLE CALL_ONCE READ_VARIABLE VAR_HANDLE SVDF"
    ),
    "a recurrent layer takes tables and products of results, which the machine does not have": (
        "UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN "
        "BIDIRECTIONAL_SEQUENCE_RNN LSTM RNN"
    ),
    "a curve takes a table of 256 results, and the machine's output stage has none": (
        "ABS ELU EXP GELU HARD_SWISH LEAKY_RELU LOG PRELU RSQRT SQRT SQUARE"
    ),
    "no layer of the machine makes images larger": (
        "DEPTH_TO_SPACE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR TILE TRANSPOSE_CONV"
    ),
    "the machine multiplies results by constants only": (
        "BATCH_MATMUL DIV FLOOR_DIV FLOOR_MOD L2_NORMALIZATION SQUARED_DIFFERENCE"
    ),
    "the machine's addresses do not depend on data": "GATHER GATHER_ND TOPK_V2",
    "the machine's programs have no branches": "IF WHILE",
}
_REASON_OF = {kind: reason for reason, kinds in _REASONS.items() for kind in kinds.split()}


def refuse_unsupported(operators: Sequence[Operator], supported: OperatorRegistry[Any]) -> None:
    """Raise a ModelError that names every kind of operator that is not in `supported`, with its reason."""
    found: dict[str, list[int]] = {}
    for operator in operators:
        if operator.kind not in supported:
            found.setdefault(operator.kind, []).append(operator.index)
    if not found:
        return
    by_reason: dict[str, list[str]] = {}
    for kind, indices in found.items():
        by_reason.setdefault(_reason(kind), []).append(f"{kind} ({_operators(indices)})")
    groups = [
        f"{_listed(kinds)} {'is' if len(kinds) == 1 else 'are'} not supported: {reason}"
        for reason, kinds in by_reason.items()
    ]
    raise ModelError(f"{'; '.join(groups)}; supported are {', '.join(supported)}")


def _listed(names: Sequence[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def _operators(indices: Sequence[int]) -> str:
    if len(indices) == 1:
        return f"operator {indices[0]}"
    named = ", ".join(map(str, indices[:_MOST_NAMED]))
    rest = len(indices) - _MOST_NAMED
    return f"operators {named}" + (f" and {rest} more" if rest > 0 else "")


def _reason(kind: str) -> str:
    if kind.startswith("CUSTOM"):
        return "a custom operator is not one of TensorFlow Lite's own"
    return _REASON_OF.get(kind, "the machine has no layer, and the host no step, for it")
