"""Files that others read: whole while they are written, and JSON as every reader takes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["plain", "write_atomically", "write_json"]


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content so that a reader sees the old or the new text, never a part."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values as JSON (:func:`write_atomically`), each number as :func:`plain` has it."""
    write_atomically(path, json.dumps(_plain_values(values), indent=1, allow_nan=False))


def plain(value: float) -> float | str | None:
    """Return a number as JSON can hold it: None for NaN, a word for infinity."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return value


def _plain_values(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _plain_values(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_plain_values(value) for value in values]
    return plain(values) if isinstance(values, float) else values
