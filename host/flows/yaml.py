"""YAML of the few kinds of values that projects need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["to_yaml"]

_PLAIN = re.compile(r"[A-Za-z_][\w./+-]*(?:::[\w*./-]+)?", re.ASCII)
_KEYWORDS = ("yes", "no", "on", "off", "true", "false", "null")


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
    """Return a scalar, plain where YAML reads it as itself, else as JSON with the escapes of YAML."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _KEYWORDS:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^ -~]", lambda found: f"\\U{ord(found[0]):08x}", quoted)
