"""Files of one's own, compared with the published ones."""

import gzip
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mnistlab.data import published
from mnistlab.data.datasets import DATASETS
from mnistlab.data.published import Found, Published, check_file, find_originals
from mnistlab.errors import DataError
from tests.originals import Made, publish

FIRST = "train-images-idx3-ubyte.gz"


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    """MNIST's files, of which the content is known as well."""
    made = publish(monkeypatch, "mnist", tmp_path / "from")
    known = {
        name: hashlib.sha256(gzip.decompress((made.folder / name).read_bytes())).hexdigest()
        for name in made.dataset.published
    }
    made.dataset = replace(made.dataset, contents=known)
    monkeypatch.setitem(DATASETS, "mnist", made.dataset)
    return made


def checked(found: list[Found]) -> set[str]:
    return {one.checked for one in found}


def test_published_files_are_known_by_their_md5(mnist: Made) -> None:
    found = find_originals(mnist.dataset, mnist.folder)
    assert [one.name for one in found] == list(mnist.dataset.published)
    assert checked(found) == {"md5"}
    content = (mnist.folder / FIRST).read_bytes()
    assert found[0].sha256 == hashlib.sha256(content).hexdigest()
    assert found[0].as_dict() == {
        "name": FIRST,
        "bytes": len(content),
        "sha256": found[0].sha256,
        "checked": "md5",
    }


@pytest.mark.parametrize("place", ["", "MNIST/raw"])
@pytest.mark.parametrize("form", ["unpacked", "dotted", "dotted and packed", "packed again"])
def test_mnist_is_known_however_it_is_packed(
    mnist: Made, tmp_path: Path, form: str, place: str
) -> None:
    folder = tmp_path / "mine" / place
    folder.mkdir(parents=True)
    for path in mnist.folder.iterdir():
        content = gzip.decompress(path.read_bytes())
        name = path.name
        if form == "unpacked":
            name = path.stem
        elif form.startswith("dotted"):
            name = path.stem.replace("-idx", ".idx") + (".gz" if "packed" in form else "")
        if "packed" in form and form != "unpacked":
            content = gzip.compress(content, 1, mtime=7)
        (folder / name).write_bytes(content)
    found = find_originals(mnist.dataset, tmp_path / "mine")
    assert checked(found) == {"content"}
    assert all(one.path.parent == folder for one in found)


def test_other_content_is_refused_also_where_it_fits(mnist: Made) -> None:
    path = mnist.folder / FIRST
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(DataError) as fault:
        find_originals(mnist.dataset, mnist.folder)
    told = str(fault.value)
    assert f"{path}: not the published file: its MD5 is " in told
    assert "--unchecked takes files" in told
    found = find_originals(mnist.dataset, mnist.folder, unchecked=True)
    assert [one.checked for one in found] == ["no", "md5", "md5", "md5"]


def test_a_damaged_file_is_refused(mnist: Made) -> None:
    path = mnist.folder / FIRST
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="not the published file"):
        find_originals(mnist.dataset, mnist.folder)


def test_all_that_is_missing_or_wrong_is_told_at_once(mnist: Made) -> None:
    (mnist.folder / FIRST).unlink()
    (mnist.folder / "t10k-labels-idx1-ubyte.gz").unlink()
    (mnist.folder / "train-labels-idx1-ubyte.gz").write_bytes(b"other")
    with pytest.raises(DataError) as fault:
        find_originals(mnist.dataset, mnist.folder)
    assert len(fault.value.faults) == 3
    assert f"no {FIRST} in it" in fault.value.faults[0]
    assert "mnistlab data download mnist --from DIR" in str(fault.value)


def test_files_of_another_dataset_with_the_same_names_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(monkeypatch, "fashion-mnist", tmp_path / "fashion")
    kmnist = publish(monkeypatch, "kmnist", tmp_path / "kmnist")
    with pytest.raises(DataError) as fault:
        find_originals(kmnist.dataset, tmp_path / "fashion")
    assert len(fault.value.faults) == 4


def test_files_taken_out_of_an_archive_cannot_be_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = publish(monkeypatch, "emnist-digits", tmp_path / "from")
    shutil.unpack_archive(made.folder / "gzip.zip", tmp_path / "out")
    with pytest.raises(DataError, match="no checksum is known of emnist-digits-train-images"):
        find_originals(made.dataset, tmp_path / "out")
    for folder in (tmp_path / "out", tmp_path / "out" / "gzip"):
        found = find_originals(made.dataset, folder, unchecked=True)
        assert checked(found) == {"no"}
        assert len(found) == 4
    (tmp_path / "out" / "gzip" / found[0].name).unlink()
    with pytest.raises(DataError, match="no emnist-digits-train-images-idx3-ubyte"):
        find_originals(made.dataset, tmp_path / "out", unchecked=True)


def test_an_archive_that_is_missing_is_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = publish(monkeypatch, "emnist-digits", tmp_path / "from")
    (made.folder / "gzip.zip").unlink()
    with pytest.raises(DataError) as fault:
        find_originals(made.dataset, made.folder)
    assert fault.value.faults == [f"{made.folder}: no gzip.zip in it"]


def test_a_folder_that_is_none_is_told_with_what_belongs_in_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; expected gzip"):
        find_originals(DATASETS["emnist-letters"], tmp_path / "none")


def test_a_file_that_cannot_be_read_is_told(mnist: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., object] = Path.open

    def opening(self: Path, mode: str = "r") -> object:
        if self.name == FIRST:
            raise PermissionError(13, "Permission denied")
        return real(self, mode)

    monkeypatch.setattr(Path, "open", opening)
    with pytest.raises(DataError, match=f"{FIRST}: cannot be read: Permission denied"):
        find_originals(mnist.dataset, mnist.folder)


def test_gzip_data_without_an_end_in_sight_has_no_known_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "_MAX_CONTENT", 2**22)
    for size, known in ((2**22, True), (2**26, False)):
        (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(size), 9))
        assert bool(published._content_sha256(tmp_path / "bomb.gz")) == known


def test_damaged_gzip_data_has_no_known_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(b"abc" * 99)[:-3])
    found, why = check_file(path, Published("x", "0" * 32, (), "1" * 64))
    assert found.checked == "no"
    assert why.endswith(f"and should be {'0' * 32}")
