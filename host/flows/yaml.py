"""YAML of the few kinds of values that projects need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["to_yaml"]


def to_yaml(value: Any, depth: int = 0) -> str:
    """Return a value of mappings, lists and scalars as YAML in block style, at a depth of two spaces each.

    Strings are quoted only where YAML would read them as something else.
    """
    pad = "  " * depth
    if isinstance(value, Mapping) and value:
        return "".join(f"{pad}{_scalar(k)}:{_nested(v, depth)}" for k, v in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_nested(v, depth)}" for v in value)
    return f"{pad}{_scalar(value)}\n"


def _nested(value: Any, depth: int) -> str:
    """Return the value of a key or of an item: on lines of its own if it is a collection."""
    return "\n" + to_yaml(value, depth + 1) if isinstance(value, Mapping | list) and value else f" {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    """Return a plain or a quoted scalar; JSON is YAML."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./+-]*(?:::[\w*./-]+)?", value)
    return (
        value
        if plain and value.lower() not in ("yes", "no", "on", "off", "true", "false", "null")
        else json.dumps(value)
    )
