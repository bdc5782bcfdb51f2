"""What pydantic found wrong, in words a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from raytag.config.document import KeyPath
from raytag.config.wording import accepted, accepted_item, did_you_mean, dotted, found, listed, section_of

__all__ = ["explain", "field_at", "key_paths"]


def explain(error: ErrorDetails, model: type[BaseModel], key: KeyPath) -> str:
    """Say in one sentence or two what is wrong at a key of a model, and what would be right."""
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key.{_suggestion(model, key)}"
        case "missing":
            return f"missing. Expected {_expected(model, key)}{_description(model, key)}"
        case "value_error":
            return _sentence(str(error["ctx"]["error"]))
        case "too_short":
            least, actual = error["ctx"]["min_length"], error["ctx"]["actual_length"]
            return f"expected at least {least} {'entry' if least == 1 else 'entries'}, found {actual}."
        case "finite_number":
            return f"expected a finite number, found {found(error['input'])}."
    hint = did_you_mean(str(error["input"]), _expected(model, key).replace(",", "").split())
    return f"expected {_expected(model, key)}, found {found(error['input'])}.{hint if _is_choice(error) else ''}"


def field_at(model: type[BaseModel], key: KeyPath) -> FieldInfo | None:
    """Return the field at a key path, positions in lists left out; none if the model has no such field."""
    section: type[BaseModel] | None = model
    info = None
    for part in key:
        if isinstance(part, int):
            continue
        if section is None or part not in section.model_fields:
            return None
        info = section.model_fields[part]
        section = section_of(info)
    return info


def key_paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Yield the key path of every field of a model and of its sections, in order."""
    for name, info in model.model_fields.items():
        yield (name,)
        section = section_of(info)
        if section is not None:
            yield from ((name, *rest) for rest in key_paths(section))


def _is_choice(error: ErrorDetails) -> bool:
    return error["type"] == "literal_error" and isinstance(error["input"], str)


def _expected(model: type[BaseModel], key: KeyPath) -> str:
    info = field_at(model, key)
    if info is None:
        return "a section"
    return accepted_item(info) if key and isinstance(key[-1], int) else accepted(info)


def _description(model: type[BaseModel], key: KeyPath) -> str:
    info = field_at(model, key)
    assert info is not None, key
    section = section_of(info)
    text = (section.__doc__ or "").splitlines()[0] if section else info.description
    return f": {text}" if text else "."


def _suggestion(model: type[BaseModel], key: KeyPath) -> str:
    """Name the key that was meant: spelled alike in this section, or spelled so in another one."""
    name = str(key[-1])
    parent: Any = field_at(model, key[:-1])
    section = section_of(parent) if parent else model
    assert section is not None, key
    near = did_you_mean(name, section.model_fields)
    elsewhere = [dotted(path) for path in key_paths(model) if path[-1] == name]
    if elsewhere:
        return f" Did you mean {listed(elsewhere)}?"
    return near or f" The keys here: {', '.join(section.model_fields)}."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."
