"""What others wrote is read as it is meant or refused in one line: types, ranges, depth, size."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from seg2vid.tools.errors import MediaError, Seg2VidError, expected
from seg2vid.tools.plain import build, parse_plain, read_plain
from seg2vid.tools.ranges import ranged


@dataclass(frozen=True)
class Inner:
    widths: tuple[int, ...] = field(default=(1, 2), metadata={"range": (1, 9)})


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = ranged(1.0, 0)
    kind: Literal["a", "b"] = "a"
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


def test_plain_values_make_a_dataclass() -> None:
    values = {"name": "x", "rate": 2, "inner": {"widths": [3]}, "many": [{}, {"widths": []}]}
    assert build(Outer, values, "here") == Outer("x", 2.0, "a", Inner((3,)), (Inner(), Inner(())))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "rate": "2"}, "Expected a number as rate in here; got text; correct it."),
        ({"name": "x", "rate": True}, "a number as rate in here; got true or false"),
        ({"name": "x", "rate": -1}, "rate in here of at least 0; got -1"),
        ({"name": "x", "rate": float("inf")}, "a finite number as rate in here; got inf"),
        ({"name": "x", "kind": "c"}, "one of a, b as kind in here; got 'c'"),
        ({"name": "x", "kind": ["c"]}, "one of a, b as kind in here; got ['c']"),
        ({"name": "x", "inner": {"widths": [10]}}, "widths in here from 1 to 9; got 10"),
        ({"name": "x", "inner": {"depth": 1}}, "only widths as inner in here; got depth"),
        ({"name": "x", "many": [{"depth": 1}]}, "only widths as many[0] in here; got depth"),
        ({"name": "x", 3: 4}, "only name, rate, kind, inner, many in here; got 3"),
        ({}, "the field name in here; got none"),
        ([1], "a mapping in here; got a list"),
        (None, "a mapping in here; got nothing"),
    ],
)
def test_what_does_not_fit_is_named(values: object, message: str) -> None:
    with pytest.raises(Seg2VidError) as caught:
        build(Outer, values, "here")
    assert message in str(caught.value)


def test_an_open_kind_takes_no_notice_of_other_fields() -> None:
    assert build(Inner, {"widths": [3], "depth": 1}, "here", is_open=True) == Inner((3,))


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\xff", ""])
def test_json_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(Seg2VidError, match=r"^Expected a report; got no JSON: .*; repair it\.$"):
        parse_plain(text.encode("latin-1"), "a report", is_json=True)


@pytest.mark.parametrize(
    "text", ["!!timestamp x", "!!bool x", "!!int ''", "!!float x", "2020-13-45", "{[1]: 2}", "\x00"]
)
def test_yaml_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(Seg2VidError, match=r"^Expected a recipe; got no YAML: .*; repair it\.$"):
        parse_plain(text, "a recipe")


def test_aliases_count_with_what_they_stand_for() -> None:
    assert parse_plain("a: &x [1, 2]\nb: *x", "it") == {"a": [1, 2], "b": [1, 2]}
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(Seg2VidError, match="more than 100000 values, aliases written out"):
        parse_plain("\n".join(lines), "it")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for name, got in (
        ("pipe.json", "which is a pipe or device; copy it to a file first"),
        (".", "which is a folder; name one file in it"),
        ("none.json", "got no file .*none.json; check the path"),
    ):
        with pytest.raises(MediaError, match=got):
            read_plain(tmp_path / name, "settings", error=MediaError)
    (tmp_path / "one.json").write_text('{"a": 1}')
    assert read_plain(tmp_path / "one.json", "settings") == {"a": 1}


def test_messages_show_a_part_of_what_is_long() -> None:
    assert len(expected("a number", got="9" * 10**6, fix="correct it")) < 700
    assert len(expected("a number", got="none", fix=f"use {'9' * 10**6}")) < 700
