"""The error tree: what each kind exits with, and how many faults are told at once."""

import inspect

import pytest

from mnistlab import errors
from mnistlab.errors import (
    CheckError,
    ConfigError,
    DamagedFileError,
    DataError,
    DivergedError,
    LockedError,
    MnistlabError,
    RequestError,
    RunError,
)

EXIT_CODES: dict[type[MnistlabError], int] = {
    MnistlabError: 1,
    RequestError: 2,
    ConfigError: 2,
    DataError: 2,
    RunError: 1,
    DamagedFileError: 1,
    DivergedError: 1,
    LockedError: 1,
    CheckError: 3,
}


def test_every_error_has_the_exit_code_of_the_contract() -> None:
    defined = {kind for _, kind in inspect.getmembers(errors, inspect.isclass)}
    assert {kind for kind in defined if issubclass(kind, Exception)} == set(EXIT_CODES)
    assert {kind: kind.exit_code for kind in EXIT_CODES} == EXIT_CODES
    assert all(issubclass(kind, MnistlabError) for kind in EXIT_CODES)


def test_the_tree_drawn_at_the_top_of_the_file_is_the_real_one() -> None:
    drawn = errors.__doc__ or ""
    for kind in EXIT_CODES:
        assert kind.__name__ in drawn


def test_a_single_fault_is_the_whole_message() -> None:
    assert str(DataError("x", ["x/train: no images"])) == "x/train: no images"


def test_a_single_fault_keeps_its_advice() -> None:
    assert str(DataError("x", ["x: empty"], "see --skip-bad")) == "x: empty\nsee --skip-bad"


@pytest.mark.parametrize(("count", "more"), [(2, None), (20, None), (21, 1), (500, 480)])
def test_twenty_faults_are_shown_and_the_rest_counted(count: int, more: int | None) -> None:
    error = DataError("x", [f"fault {i}" for i in range(count)], "advice")
    lines = str(error).split("\n")
    shown = min(count, 20)
    assert lines[0] == f"x: {count} faults"
    assert lines[1 : 1 + shown] == [f"  fault {i}" for i in range(shown)]
    assert lines[-1] == "advice"
    assert lines[1 + shown : -1] == ([] if more is None else [f"  ... and {more} more"])
    assert len(error.faults) == count
    assert error.where == "x"
