"""YAML 1.2 values, their lines, and one clear line for text that is no YAML."""

import math
from pathlib import Path

import pytest

from raytag.config.document import Malformed, dump_yaml, load_yaml, parse
from raytag.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("+12", 12),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-01-31", "2026-01-31"),
        ("'5'", "5"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("[1, [a, {b: 2}]]", [1, ["a", {"b": 2}]]),
    ],
)
def test_values_follow_yaml_1_2(text, value):
    parsed = parse(text).value

    assert parsed == value
    assert type(parsed) is type(value)


def test_not_a_number_is_read():
    assert math.isnan(parse(".nan").value)


@pytest.mark.parametrize(
    "value", ["1e5", "true", "null", "", "0x1F", "~", "yes", "a: b", "- a", "12", "é", "${HOME}/x"]
)
def test_dumped_text_stays_text(value):
    assert parse(dump_yaml({"key": value})).value == {"key": value}


def test_equal_lists_are_written_twice_not_as_an_alias():
    shared = [1, 2]

    assert parse(dump_yaml({"a": shared, "b": shared})).value == {"a": [1, 2], "b": [1, 2]}


def test_every_key_and_item_knows_its_line():
    parsed = parse("a:\n  b: 1\n  c:\n  - x\n  - d: 2\ne: [3,\n  4]\n")

    assert parsed.lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", 0): 4,
        ("a", "c", 1): 5,
        ("a", "c", 1, "d"): 5,
        ("e",): 6,
        ("e", 0): 6,
        ("e", 1): 7,
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [1, 2\n", 3, "not YAML: expected ',' or ']', but got '<stream end>'."),
        ("a: 'text\n", 2, "not YAML: found unexpected end of stream."),
        ("a:\n\tb: 1\n", 2, "a tab where YAML wants spaces. Indent with spaces."),
        (
            "a: 1\n  b: 2\n",
            2,
            "not YAML: a second `key:` on this line, or wrong indentation. Quote text that holds ': '.",
        ),
        ("a: 1\n- b\n", 2, "not YAML: expected <block end>, but found '-'."),
        ("a: @b\n", 1, "not YAML: found character '@' that cannot start any token."),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins (---). Write one document to a file."),
        ("a: 1\nb: \x07\n", 2, "not YAML: character 0x07 is not allowed."),
        (
            "a: &x {b: 1}\nc:\n  <<: *x\n",
            3,
            "anchors, aliases and merge keys (&, *, <<) are not supported; write the value here.",
        ),
        (
            "a: &x [*x]\n",
            1,
            "anchors, aliases and merge keys (&, *, <<) are not supported; write the value here.",
        ),
        (
            "a: 1\nb: !!python/name:os.system\n",
            2,
            "tags are not supported, found tag:yaml.org,2002:python/name:os.system.",
        ),
        ("a: 1\n? [b]\n: 2\n", 2, "expected a word as key, found a list or a mapping."),
    ],
)
def test_malformed_text_is_reported_with_its_line(text, line, message):
    with pytest.raises(Malformed) as caught:
        parse(text)

    assert (caught.value.line, caught.value.message) == (line, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file.yaml: the file is empty."),
        (b"# nothing\n", "file.yaml: the file is empty."),
        (b"- a\n- b\n", "file.yaml:1: expected `key: value` lines, found a list."),
        (b"words\n", "file.yaml:1: expected `key: value` lines, found 'words'."),
        (b"a: 1\nb: caf\xe9\n", "file.yaml:2: not UTF-8 text (byte 0xe9). Save the file as UTF-8."),
        (b"a: 1\nb: [\n", "file.yaml:3: not YAML: expected the node content, but found '<stream end>'."),
        (
            b"a: {b: 1, b: 2}\nc: 3\na: 4\n",
            "file.yaml:1 a.b: given again on line 1. Keep one.\nfile.yaml:1 a: given again on line 3. Keep one.",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    Path("file.yaml").write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load_yaml(Path("file.yaml"))

    assert sorted(str(caught.value).splitlines()) == sorted(message.splitlines())


def test_a_missing_file_names_its_neighbour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gn2_width.yaml").touch()

    with pytest.raises(ConfigError, match=r"^gn2_widht.yaml: no such file. Did you mean gn2_width.yaml\?$"):
        load_yaml(Path("gn2_widht.yaml"))


def test_a_folder_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("experiments").mkdir()

    with pytest.raises(ConfigError, match=r"^experiments: expected a YAML file, found a folder\.$"):
        load_yaml(Path("experiments"))


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "file.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")

    assert load_yaml(tmp_path / "file.yaml").data == {"name": "x"}
