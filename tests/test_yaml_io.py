"""Is YAML read as its author meant it, and does every fault come with its line and column?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from accelsim import yaml_io
from accelsim.errors import InputError
from accelsim.yaml_io import (
    Document,
    dotted,
    load_document,
    parse_document,
    parse_value,
    read_text,
    validate,
    with_override,
)


def data(text: str) -> Any:
    return parse_document(text, "f").data


def faults(text: str, model: type[BaseModel] | None = None) -> list[str]:
    """The faults of ``text``, as a user reads them."""
    with pytest.raises(InputError) as caught:
        _read(text, model)
    return [str(fault) for fault in caught.value.faults]


def _read(text: str, model: type[BaseModel] | None) -> None:
    document = parse_document(text, "f")
    if model is not None:
        validate(document, model)


# ---- what plain words and numbers mean --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("off", "off"), ("y", "y"), ("on", "on"), ("yes", "yes"), ("NO", "NO"),
        ("true", True), ("False", False), ("null", None), ("~", None),
        ("1e9", 1e9), ("1e-3", 1e-3), (".5", 0.5), ("1.", 1.0), ("+7", 7), ("-0", 0),
        ("010", 10), ("0x10", "0x10"), ("0o17", "0o17"), ("1_000", "1_000"), ("12:30", "12:30"), ("12:30:45", "12:30:45"),
        ("2024-01-02", "2024-01-02"), ("1/4", "1/4"), ("3x3", "3x3"), ("'8'", "8"), ('"true"', "true"), ("=", "="), ("<<", "<<"),
        ("[1, [2]]", [1, [2]]), ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)  # fmt: skip
def test_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = data(text)
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_words() -> None:
    assert data("{1: a, true: b, on: c, null: d}") == {"1": "a", "true": "b", "on": "c", "null": "d"}


def test_an_anchor_is_read_where_it_is_used_again() -> None:
    assert data("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


# ---- faults of the text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "f:1:1: is empty"),
        ("# nothing\n", "f:1:1: is empty"),
        ("a: [1, 2\nb: 3\n", "f:2:2: is not YAML: "),
        ("a: 1\n\tb: 2\n", "f:2:1: is not YAML: "),
        ("a: 'open\n", "f:2:1: is not YAML: "),
        ("a: {b: 1}}\n", "f:1:10: is not YAML: "),
        ("a: 1\n---\nb: 2\n", "f:2:1: is not YAML: "),
        ("a: *nowhere\n", "f:1:4: is not YAML: "),
        ("a: @x\n", "f:1:4: is not YAML: "),
        ("a: \x07\n", "f:1:1: is not YAML: "),
        ("a: 1\nb: 2\na: 3\n", "f:3:1: a: is given twice"),
        ("a: {b: 1, b: 1}\n", "f:1:11: a.b: is given twice"),
        ("{1: a, '1': b}\n", "f:1:8: 1: is given twice"),
        ("? [1, 2]\n: 3\n", "f:1:3: a key must be a plain word"),
        ("a: &x\n  b: *x\n", "f:1:4: a.b: refers to itself"),
        ("a: !!python/object:os.system {}\n", "f:1:4: a: has the tag tag:yaml.org,2002:python/object:os.system"),
        ("a: !!binary aGk=\n", "f:1:4: a: has the tag tag:yaml.org,2002:binary, which is not supported here"),
        ("a: !!int x\n", 'f:1:4: a: is "x", but its tag says int'),
        ("a: !!bool x\n", 'f:1:4: a: is "x", but its tag says bool'),
        ("a: !!python/name:str x\n", "f:1:4: a: has the tag"),
        ("a: !!set {x}\n", "f:1:4: a: has the tag"),
        ("a: !mine 3\n", "f:1:4: a: has the tag !mine, which is not supported here"),
        ("a: .inf\n", "f:1:4: a: is .inf, must be a finite number"),
        ("a: .nan\n", "f:1:4: a: is .nan, must be a finite number"),
        ("a: 1e999\n", "f:1:4: a: is 1e999, must be a finite number"),
        ("a: " + "9" * 30 + "\n", "f:1:4: a: has 30 digits, at most 18 are taken"),
        ("a: " + "9" * 19 + "\n", "f:1:4: a: has 19 digits, at most 18 are taken"),
    ],
)  # fmt: skip
def test_faults_of_the_text_have_their_place(text: str, start: str) -> None:
    assert faults(text)[0].startswith(start)


def test_all_faults_of_the_text_come_at_once() -> None:
    found = faults("a: 1\na: 2\nb: .inf\nc: {d: 1, d: 2}\n")
    assert [fault.split(":")[1:3] for fault in found] == [["2", "1"], ["3", "4"], ["4", "11"]]


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "{a: " * 3000 + "1" + "}" * 3000])
def test_nesting_without_end_is_a_fault(text: str) -> None:
    assert "nested too deeply" in faults(text)[0] or "not YAML" in faults(text)[0]


MERGES = [
    ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"p": 1, "q": 3}),
    ("a: &x {p: 1, q: 2}\nb: {q: 3, <<: *x}", {"q": 3, "p": 1}),
    ("a: &x {p: 1}\nc: &y {p: 2, q: 4}\nb: {<<: [*x, *y]}", {"p": 1, "q": 4}),
    ("a: &x {p: 1}\nc: &y {<<: *x, q: 5}\nb: {<<: *y}", {"p": 1, "q": 5}),
    ("a: &x {p: {q: 1}}\nb: {<<: *x, p: {r: 2}}", {"p": {"r": 2}}),
    ("b: {<<: {p: 1}}", {"p": 1}),
    ("b: {'<<': {p: 1}}", {"<<": {"p": 1}}),
]


@pytest.mark.parametrize(("text", "merged"), MERGES)
def test_merged_keys_stand_behind_a_mappings_own(text: str, merged: Any) -> None:
    assert parse_document(text, "f.yaml").data["b"] == merged


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("b: {<<: 3}", "f.yaml:1:9: b.<<: merges keys, and must be given a mapping or a list of mappings"),
        ("b: {<<: [{p: 1}, 4]}", "f.yaml:1:18: b.<<: merges keys"),
        ("b: &x {<<: *x}", "f.yaml:1:4: b.<<: refers to itself"),
        ("a: &x {p: 1}\nb: {<<: *x, <<: *x}", "f.yaml:2:13: b.<<: is given twice"),
        ("a: &x {p: 1, p: 2}\nb: {<<: *x}", "f.yaml:1:14: a.p: is given twice"),
    ],
)
def test_faults_of_a_merge_have_their_place(text: str, start: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_document(text, "f.yaml")
    assert str(caught.value).startswith(start)


def test_a_merged_key_stands_where_it_was_written() -> None:
    marks = parse_document("a: &x\n  p: 1\nb:\n  <<: *x\n  q: 2", "f.yaml").marks
    assert marks["b", "p"] == (2, 3)
    assert marks["b", "q"] == (5, 3)


def test_anchors_that_multiply_without_end_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_io, "MOST_VALUES", 10_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert "expands to too many values, at most 10,000 are taken" in faults("\n".join(lines))[0]


# ---- faults of files --------------------------------------------------------------------------------------------


def test_merges_that_multiply_without_end_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.yaml_io.MOST_VALUES", 1000)
    levels = "".join(f"l{i}: &l{i} {{<<: [{', '.join([f'*l{i - 1}'] * 8)}]}}\n" for i in range(1, 12))
    with pytest.raises(InputError, match="expands to too many values"):
        parse_document("l0: &l0 {p: 1}\n" + levels, "f.yaml")


def test_faults_of_files(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9t\xe9\n")
    for path, words in [
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "is a directory, must be a file"),
        (tmp_path / "latin.yaml", "is not UTF-8 text (byte 3"),
        (tmp_path / ("x" * 300 + ".yaml"), "cannot be read: "),
        (tmp_path / "latin.yaml" / "x", "cannot be read: "),
    ]:
        with pytest.raises(InputError) as caught:
            read_text(path)
        assert str(caught.value).startswith(f"{path}: {words}")


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_document(tmp_path / "a.yaml").data == {"a": 1}


def test_a_document_knows_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    assert load_document(tmp_path / "a.yaml").folder == tmp_path


# ---- faults against a model -------------------------------------------------------------------------------------


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: PositiveInt
    kind: Literal["small", "large"] = "small"


class Square(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["square"]
    side: PositiveInt


class Circle(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["circle"]
    radius: PositiveInt


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner | None = None
    items: list[Inner] = []
    table: dict[str, Inner] = {}
    shape: Square | Circle | None = Field(default=None, discriminator="kind")
    aliased: int = Field(default=0, alias="in")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[1]", "f:1:1: is a list, must be a mapping of keys to values"),
        ("3", "f:1:1: is 3, must be a mapping"),
        ("items: []\n", "f:1:1: name: is missing"),
        ("name: a\nnam: b\n", 'f:2:1: nam: unknown key (did you mean "name"?)'),
        ("name: a\nzzzzz: b\n", "f:2:1: zzzzz: unknown key; known here: in, inner, items, name, shape, table"),
        ("name: a\ninner: {size: 1, kin: small}\n", 'f:2:18: inner.kin: unknown key (did you mean "kind"?)'),
        ("name: a\ninner: {size: 0}\n", "f:2:9: inner.size: is 0, must be greater than 0"),
        ("name: a\ninner: {size: -3}\n", "f:2:9: inner.size: is -3, must be greater than 0"),
        ("name: a\ninner: {size: x}\n", 'f:2:9: inner.size: is "x", must be a valid integer'),
        ("name: a\ninner: {size: 1.5}\n", "f:2:9: inner.size: is 1.5, must be a valid integer"),
        ("name: a\ninner: {kind: small}\n", "f:2:1: inner.size: is missing"),
        (
            "name: a\ninner: {size: 1, kind: smal}\n",
            "f:2:18: inner.kind: is \"smal\", must be 'small' or 'large' (did you mean \"small\"?)",
        ),
        ("name: a\nitems:\n  - {size: 1}\n  - {size: no}\n", 'f:4:6: items[1].size: is "no", must be a valid integer'),
        ("name: a\nitems:\n  - {size: 1}\n  - {}\n", "f:4:5: items[1].size: is missing"),
        ("name: a\ntable:\n  k: {sise: 2, size: 1}\n", 'f:3:7: table.k.sise: unknown key (did you mean "size"?)'),
        (
            "name: a\nshape: {kind: squar, side: 1}\n",
            'f:2:9: shape.kind: is "squar", must be square or circle (did you mean "square"?)',
        ),
        ("name: a\nshape: {side: 1}\n", "f:2:1: shape: lacks the key 'kind'"),
        ("name: a\nshape: {kind: square, sid: 1, side: 2}\n", 'f:2:23: shape.sid: unknown key (did you mean "side"?)'),
        ("name: a\nshape: {kind: circle, radius: 0}\n", "f:2:23: shape.radius: is 0, must be greater than 0"),
        ("name: a\nin: x\n", 'f:2:1: in: is "x", must be a valid integer'),
        ("name:\n", "f:1:1: name: is nothing, must be a valid string"),
        ("name: {a: 1}\n", "f:1:1: name: is a mapping, must be a valid string"),
    ],
)
def test_faults_against_a_model_have_their_place(text: str, start: str) -> None:
    assert faults(text, Outer)[0].startswith(start)


def test_all_faults_against_a_model_come_at_once() -> None:
    found = faults("nam: a\ninner: {size: 0, x: 1}\nitems: [{size: a}]\n", Outer)
    assert len(found) == 5


def test_a_long_value_is_shortened() -> None:
    assert len(faults(f"name: a\ninner: {{size: {'x' * 500}}}\n", Outer)[0]) < 150


# ---- places and overrides ---------------------------------------------------------------------------------------


def test_marks_are_where_the_keys_stand() -> None:
    document = parse_document("a: 1\nb:\n  - {c: 2}\n  - {c: 3}\n", "f")
    assert document.marks["a",] == (1, 1)
    assert document.marks["b", 1] == (4, 5)
    assert document.marks["b", 1, "c"] == (4, 6)
    assert document.fault(("b", 1, "zz"), "m").line == 4


def test_dotted() -> None:
    assert dotted(("layers", 3, "pad", 0)) == "layers[3].pad[0]"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("34 GB/s", "34 GB/s"),
        ("", None),
        ("1/4", "1/4"),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_values_of_the_command_line(text: str, value: Any) -> None:
    assert parse_value(text) == value


def override(text: str, key: str, value: Any) -> Any:
    return with_override(parse_document(text, "f"), tuple(key.split(".")), value, f"--set {key}").data


def test_overrides_reach_every_place() -> None:
    text = "a: {b: 1}\nmemory:\n  - {name: dram, size: 1}\n  - {name: sram, size: 2}\nlist: [5, 6]\n"
    assert override(text, "a.b", 9)["a"] == {"b": 9}
    assert override(text, "a.c.d", 9)["a"] == {"b": 1, "c": {"d": 9}}
    assert override(text, "memory.sram.size", 9)["memory"][1] == {"name": "sram", "size": 9}
    assert override(text, "memory.0.size", 9)["memory"][0]["size"] == 9
    assert override(text, "list.1", 9)["list"] == [5, 9]
    assert parse_document(text, "f").data == data(text)  # the document itself is untouched


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("memory.sra.size", 'there is no such item (did you mean "sram"?)'),
        ("memory.7.size", "there is no such item; there are dram, sram"),
        ("memory.-1.size", "there is no such item"),
        ("memory.².size", "there is no such item"),
        ("a.b.c", "a.b is 1 and has no keys"),
    ],
)
def test_overrides_that_lead_nowhere(key: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        override("a: {b: 1}\nmemory: [{name: dram}, {name: sram}]\n", key, 1)
    assert words in str(caught.value)


def test_an_overridden_value_has_no_place_in_the_file() -> None:
    document = with_override(parse_document("name: a\ninner: {size: 1}\n", "f"), ("inner", "size"), 0, "--set")
    with pytest.raises(InputError) as caught:
        validate(document, Outer)
    assert "inner.size: is 0, must be greater than 0" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("memory.far.size", "--set arch.memory.far.size: memory[1].size: is wrong"),  # a name stands for its index
        ("memory.1.size", "--set arch.memory.1.size: memory[1].size: is wrong"),
        ("memory.far.speed", "f:3:17: memory[1].size: is wrong"),
    ],
)
def test_a_fault_of_an_overridden_value_names_the_override(key: str, expected: str) -> None:
    document = parse_document("memory:\n  - {name: near}\n  - {name: far, size: 1}\n", "f")
    document = with_override(document, tuple(key.split(".")), 0, f"--set arch.{key}")
    assert str(document.fault(("memory", 1, "size"), "is wrong")) == expected


# ---- whatever the text ------------------------------------------------------------------------------------------


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(parse_document(text, "f"), Document)
    except InputError as error:
        assert all(fault.line >= 1 and fault.column >= 1 for fault in error.faults)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN.filter(lambda value: value is not None))
def test_what_json_writes_is_read_as_it_is(value: Any) -> None:
    import json

    assert data(json.dumps(value, ensure_ascii=False)) == value
