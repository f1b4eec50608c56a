"""`--data NAME|DIR`: names, folders, and what is said where there is neither."""

from pathlib import Path

import pytest

from mnistlab.data import bundled
from mnistlab.data.folders import ImageData
from mnistlab.data.named import find_data, load_data, load_split
from mnistlab.errors import DataError

KNOWN = (
    "; known: mnist_sample, mnist, fashion-mnist, kmnist, qmnist, emnist-digits, emnist-letters, "
    "usps"
)


def test_the_bundled_data_has_a_name(sample: ImageData) -> None:
    assert find_data("mnist_sample") == sample.root


def test_a_folder_is_itself(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_data(str(tiny)) == tiny
    monkeypatch.chdir(tiny.parent)
    assert load_data("tiny").classes == load_data("./tiny").classes == ("dark", "light")


def test_a_known_name_wins_over_a_folder_of_that_name(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, sample: ImageData
) -> None:
    monkeypatch.chdir(tiny.parent)
    tiny.rename(tiny.parent / "mnist_sample")
    assert find_data("mnist_sample") == sample.root
    assert load_data("./mnist_sample").classes == ("dark", "light")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mnist_smaple", "; did you mean mnist_sample?"),
        ("fashon-mnist", "; did you mean fashion-mnist?"),
        ("imagenet", KNOWN),
        ("x" * 300, KNOWN),
        ("a\0b", KNOWN),
    ],
)
def test_an_unknown_name_is_told_with_what_is_known(name: str, hint: str) -> None:
    with pytest.raises(DataError, match="no such folder or dataset") as fault:
        find_data(name)
    assert str(fault.value).endswith(hint)
    assert str(fault.value).isprintable()


def test_a_path_that_is_not_there_is_told_as_a_folder(tmp_path: Path) -> None:
    for name in ("./none", str(tmp_path / "none"), "a/b", str(tmp_path / ("x" * 300)), "a/\0"):
        with pytest.raises(DataError, match="expected train/<class>"):
            load_data(name)
        with pytest.raises(DataError, match="expected train/<class>"):
            load_split(name, "valid")


def test_one_split_of_the_bundled_data(sample: ImageData) -> None:
    assert load_split("mnist_sample", "valid").fingerprint == sample.valid.fingerprint
    assert load_split("mnist_sample", "train").fingerprint == sample.train.fingerprint
    assert len(load_split("mnist_sample", "valid").ds) == 2038


def test_one_split_of_a_folder_needs_no_other(tiny: Path) -> None:
    (tiny / "train").rename(tiny / "elsewhere")
    (tiny / "valid" / "dark" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        load_split(str(tiny), "valid")
    split = load_split(str(tiny), "valid", skip_bad=True)
    assert split.counts == {"dark": 3, "light": 4}
    assert [*split.skipped] == ["valid/dark/0.png"]


@pytest.mark.parametrize(
    ("split", "hint"), [("vaild", "; did you mean valid?"), ("test", "; known: train, valid")]
)
def test_an_unknown_split_is_told(split: str, hint: str) -> None:
    with pytest.raises(DataError) as fault:
        load_split("mnist_sample", split)
    assert str(fault.value) == f"--split {split}: unknown{hint}"


def test_damage_to_a_folder_of_ones_own_is_an_error_and_never_mended(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renewed(**_: bool) -> Path:
        raise AssertionError("not the bundled data")

    monkeypatch.setattr(bundled, "mnist_sample", renewed)
    (tiny / "valid" / "dark" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        load_data(str(tiny))
    assert load_data(str(tiny), skip_bad=True).valid.counts == {"dark": 3, "light": 4}


@pytest.mark.parametrize("name", ["", "d\udcff"])
def test_a_name_that_no_run_could_note_down_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="--data"):
        find_data(name)
