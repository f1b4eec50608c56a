"""Names as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistlab.names import is_clean, natural_key, nearest, printable


@pytest.mark.parametrize(
    "ordered",
    [
        ["0", "1", "2", "9", "10", "11", "100"],
        ["img1", "img2", "img9", "img10", "img10a", "img10b"],
        ["", "1", "1a", "1b", "2", "a", "a1", "a1b", "a2", "b"],
        ["0", "00", "01", "1", "002", "02", "2"],  # equal numbers, as text
        ["9" * 6000, "1" + "0" * 6000],
        ["v1.2", "v1.10", "v2.0"],
        ["3", "7"],
    ],
)
def test_natural_order(ordered: list[str]) -> None:
    mixed = ordered[::-1]
    assert sorted(mixed, key=natural_key) == ordered


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_numbers_are_ordered_as_numbers(a: int, b: int) -> None:
    assert (natural_key(f"x{a}y") < natural_key(f"x{b}y")) == (a < b)


@given(st.lists(st.text()))
def test_any_names_can_be_ordered_and_only_equal_ones_tie(names: list[str]) -> None:
    assert len({natural_key(name) for name in names}) == len(set(names))
    turned = names[::-1]
    assert sorted(turned, key=natural_key) == sorted(names, key=natural_key)


def test_the_nearest_known_name_is_offered() -> None:
    known = ["linear", "two-layer"]
    assert nearest("liner", known) == "; did you mean linear?"
    assert nearest("twolayer", known) == "; did you mean two-layer?"
    assert nearest("resnet", known) == "; known: linear, two-layer"
    assert nearest("", iter(known)) == "; known: linear, two-layer"


@pytest.mark.parametrize("name", ["3", "größe", "a b", "日本", "x\u00a0y", "🙂", "a'b\"c\\d"])
def test_clean_names(name: str) -> None:
    assert is_clean(name)


@pytest.mark.parametrize(
    "name",
    ["a\nb", "\x1b[2J", "\x00", "a\tb", "\x7f", "\x9b", "a\u2028b", "a\u2029b", "\udcff", "a\r"],
)
def test_names_that_could_harm_a_terminal_or_an_encoding(name: str) -> None:
    assert not is_clean(name)


@given(st.text(st.characters(blacklist_categories=[])))
def test_what_is_printed_is_printable_and_encodes(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    if text.isprintable():
        assert shown == text


def test_what_is_escaped_can_still_be_recognised() -> None:
    assert printable("a\nb\x1b[2J\udcff\u202e é") == "a\\nb\\x1b[2J\\udcff\\u202e é"
    assert printable(12) == "12"
