"""JSON as strict readers take it, such as a browser's or jq: NaN and Infinity are none."""

import json
from pathlib import Path
from typing import Any


def read_strictly(path: Path) -> Any:
    """Read a JSON file; ValueError if it holds what strict readers refuse."""
    return json.loads(path.read_text(), parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"no JSON: {name}")
