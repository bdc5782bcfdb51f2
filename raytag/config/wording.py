"""The words in which a configuration speaks: what a field accepts, what was found, what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["accepted", "accepted_item", "did_you_mean", "dotted", "found", "is_path", "listed", "section_of"]

_BOUNDS = (
    (annotated_types.Gt, "gt", "above"),
    (annotated_types.Ge, "ge", "of at least"),
    (annotated_types.Lt, "lt", "below"),
    (annotated_types.Le, "le", "of at most"),
)
_SCALARS = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}


def accepted(info: FieldInfo) -> str:
    """Say what a field accepts: "a number above 0", "mup or standard", "a list"."""
    return _words(_without_none(info.annotation), info.metadata)


def accepted_item(info: FieldInfo) -> str:
    """Say what each entry of a list field accepts."""
    entry = get_args(_without_none(info.annotation))[0]
    return _words(entry, getattr(entry, "__metadata__", ()))


def found(value: Any) -> str:
    """Say what stands in the file: text in quotes, numbers as they are, the rest by its kind."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a section"
        case list() | tuple():
            return "a list"
    return repr(value)


def listed(words: Iterable[object], last: str = "or") -> str:
    """Join words as in a sentence: "a, b or c"."""
    *head, tail = map(str, words)
    return f"{', '.join(head)} {last} {tail}" if head else tail


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return " Did you mean ...?" if a candidate resembles the word, else nothing."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]}?" if matches else ""


def dotted(key: Iterable[str | int]) -> str:
    """Write a key path as a user does, without the positions in lists: "search.widths"."""
    return ".".join(part for part in key if isinstance(part, str))


def section_of(info: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is a section of its own, if it is one."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def is_path(info: FieldInfo) -> bool:
    """Say whether the field holds a path."""
    return _bare(_without_none(info.annotation)) is Path


def _words(kind: Any, metadata: Iterable[Any]) -> str:
    limits = [
        f"{words} {getattr(limit, attribute):g}"
        for bound, attribute, words in _BOUNDS
        for limit in metadata
        if isinstance(limit, bound)
    ]
    return " ".join([_kind(kind), " and ".join(limits)]).strip()


def _kind(kind: Any) -> str:
    kind = _bare(kind)
    if get_origin(kind) is Literal:
        return listed(get_args(kind))
    if get_origin(kind) is tuple:
        return "a list"
    return _SCALARS.get(kind, "a section")


def _bare(kind: Any) -> Any:
    """Strip the validators of an ``Annotated`` type."""
    return get_args(kind)[0] if hasattr(kind, "__metadata__") else kind


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, UnionType):
        return kind
    members = [member for member in get_args(kind) if member is not NoneType]
    return members[0] if len(members) == 1 else kind
