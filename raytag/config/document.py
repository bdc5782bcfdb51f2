"""YAML files as plain values that remember their lines: the YAML 1.2 core schema on top of PyYAML's parser.

``1e-3`` is a number and ``yes`` is a word, as a reader expects; a key given twice is a problem. What the keys mean is
:mod:`raytag.config.load`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from raytag.config.wording import did_you_mean, dotted, found
from raytag.errors import ConfigError, Problem

__all__ = ["Document", "KeyPath", "Malformed", "Parsed", "display_path", "dump_yaml", "load_yaml", "parse", "read_yaml"]

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"

# YAML 1.2.2, section 10.3.2: tag, pattern, possible first characters ("" stands for an empty value)
_CORE_SCHEMA = (
    ("null", r"null|Null|NULL|~|", ("n", "N", "~", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


class Malformed(Exception):  # noqa: N818  (it never leaves raytag.config)
    """Text that is not YAML, or uses a part of YAML that is not supported; ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases, so that every value has one place in the file, and tags, so that its text gives its type."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML stubs
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise Malformed("anchors, aliases and merge keys (&, *, <<) are not supported; write the value here.", line)
        if getattr(event, "tag", None) is not None:
            raise Malformed(f"tags are not supported, found {event.tag}.", line)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}  # forget YAML 1.1
    for _name, _pattern, _first in _CORE_SCHEMA:
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), list(_first))


@dataclass
class Parsed:
    """A value, the line of each of its keys and items, and what is wrong besides the syntax."""

    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    """A YAML file whose top level is a mapping."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...] = ()

    def line(self, key: KeyPath) -> int | None:
        """Line of a key, or of its nearest parent in the file; none for a key the file has no part of."""
        return next((self.lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.lines), None)

    def problem(self, key: KeyPath, message: str) -> Problem:
        """Report a finding at a key."""
        return Problem(where=dotted(key), message=message, file=self.path, line=self.line(key))


def load_yaml(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML, or gives a key twice.
    """
    document = read_yaml(path)
    if document.problems:
        raise ConfigError(document.problems)
    return document


def read_yaml(path: Path) -> Document:
    """Read a YAML file like :func:`load_yaml`, but leave duplicated keys to the caller to report."""
    try:
        parsed = parse(_read_text(path))
    except Malformed as error:
        raise ConfigError([Problem("", error.message, path, error.line)]) from None
    if parsed.value is None:
        raise ConfigError([Problem("", "the file is empty.", path)])
    if not isinstance(parsed.value, dict):
        raise ConfigError([Problem("", f"expected `key: value` lines, found {found(parsed.value)}.", path, 1)])
    document = Document(path, parsed.value, parsed.lines)
    problems = tuple(document.problem(key, message) for key, message in parsed.problems)
    return Document(path, parsed.value, parsed.lines, problems)


def parse(text: str) -> Parsed:
    """Parse one YAML value.

    Raises
    ------
    Malformed
        If the text is not YAML or uses anchors or custom tags.
    """
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Malformed(_syntax_message(error), mark.line + 1 if mark else 1) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Malformed(f"not YAML: character {error.character:#04x} is not allowed.", line) from None
    parsed = Parsed()
    if root is not None:
        parsed.value = _value(root, (), parsed)
    return parsed


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Write plain values as YAML that :func:`parse` reads back unchanged."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def display_path(path: Path) -> str:
    """Return the path as a user would type it: relative if it lies below the working directory."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        siblings = sorted(file.name for file in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise ConfigError([Problem("", f"no such file.{did_you_mean(path.name, siblings)}", path)]) from None
    except IsADirectoryError:
        raise ConfigError([Problem("", "expected a YAML file, found a folder.", path)]) from None
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}.", path)]) from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8 text (byte {raw[error.start]:#04x}). Save the file as UTF-8."
        raise ConfigError([Problem("", message, path, line)]) from None


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or str(error.context)
    if r"'\t'" in problem:
        return "a tab where YAML wants spaces. Indent with spaces."
    if problem == "mapping values are not allowed here":
        return "not YAML: a second `key:` on this line, or wrong indentation. Quote text that holds ': '."
    if problem == "but found another document":
        return "a second document begins (---). Write one document to a file."
    return f"not YAML: {problem}."


def _value(node: yaml.Node, key: KeyPath, parsed: Parsed) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {name: _value(child, (*key, name), parsed) for name, child in _entries(node, key, parsed)}
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            parsed.lines[(*key, index)] = child.start_mark.line + 1
        return [_value(child, (*key, index), parsed) for index, child in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode), node
    return _scalar(node)


def _entries(node: yaml.MappingNode, key: KeyPath, parsed: Parsed) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the pairs of a mapping, noting the lines of its keys; of a repeated key the first counts."""
    seen: set[str] = set()
    for name_node, child in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode):
            raise Malformed("expected a word as key, found a list or a mapping.", line)
        name = name_node.value
        if name in seen:
            parsed.problems.append(((*key, name), f"given again on line {line}. Keep one."))
            continue
        seen.add(name)
        parsed.lines[(*key, name)] = line
        yield name, child


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
