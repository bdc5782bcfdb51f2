"""How the groups of a study were run, in words: what :mod:`raytag.training.executors` chose, read from the study.

A choice is the plain content of an ``ExecutorChoice`` (its ``to_dict``): this module and those who read reports need no
torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Choice", "choices_sheet", "describe_choice", "executor_tags"]

Choice = Mapping[str, Any]


def describe_choice(choice: Choice) -> str:
    """Return a choice and its reason in one line."""
    slots = f"{choice['slots']} slot{'s' * (choice['slots'] != 1)}"
    return f"width {choice['width']}, {slots} on {choice['device']}: {_name(choice['chosen'])} ({choice['reason']})"


def executor_tags(choices: Sequence[Choice]) -> dict[str, str]:
    """Return MLflow tags as in {"executor.w32": "vmap, rows"}; several choices of a width stand side by side."""
    names: dict[str, dict[str, None]] = {}
    for choice in choices:
        names.setdefault(f"executor.w{choice['width']}", {})[_name(choice["chosen"])] = None
    return {tag: " | ".join(different) for tag, different in names.items()}


def choices_sheet(choices: Sequence[Choice]) -> str:
    """Return all choices with the figures behind them, as JSON."""
    return json.dumps(list(choices), indent=1)


def _name(candidate: Mapping[str, str]) -> str:
    return f"{'' if candidate['compile'] == 'off' else 'compiled '}{candidate['executor']}, {candidate['layout']}"
