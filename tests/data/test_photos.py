"""Photos as phones take them: large, turned, HEIC. Memory is bounded; what is small is whole."""

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnistlab.data import images
from mnistlab.data.folders import load_folders
from mnistlab.data.images import UndecodableError, decode, decode_bytes
from tests import needs
from tests.encoders import saved

HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(200)


@pytest.fixture
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft patches of all colours."""
    levels = np.random.default_rng(seed).integers(0, 255, (3, 4, 3)).astype(np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)


def whole_of(content: bytes) -> np.ndarray:
    return np.asarray(decode_bytes(content).grey).astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "MPO", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_large_photo_is_reduced_and_turned_upright(
    kind: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    content = saved(photo(404, 200), kind, exif=exif)
    whole = decode_bytes(content)
    size = (200, 404) if orientation < 5 else (404, 200)
    assert whole.own_size == size
    for most, by in ((404 * 200, 1), (404 * 200 - 1, 2), (404 * 200 // 4 - 1, 4)):
        monkeypatch.setattr(images, "WHOLE_PIXELS", most)
        small = decode_bytes(content)
        assert small.own_size == size
        assert small.grey.size == tuple(-(-side // by) for side in whole.grey.size)
        expected = np.asarray(whole.grey.reduce(by)).astype(int)
        assert np.abs(np.asarray(small.grey) - expected).max() <= (0 if by == 1 else 4)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_mode_is_reduced_in_strips(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(90, 70)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "P":
        image = image.quantize(200)
    else:
        image = image.convert(mode)
    content = saved(image, "TIFF" if mode == "CMYK" else "PNG")
    expected = np.asarray(decode_bytes(content).grey.reduce(2)).astype(int)
    monkeypatch.setattr(images, "WHOLE_PIXELS", 90 * 70 - 1)
    monkeypatch.setattr(images, "_STRIP", 16)
    assert np.abs(whole_of(content) - expected).max() <= 1


def test_a_damaged_photo_is_found_at_every_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(photo(400, 200), "JPEG", quality=95)
    monkeypatch.setattr(images, "WHOLE_PIXELS", 100 * 50)
    assert decode_bytes(content).grey.size == (100, 50)
    with pytest.raises(UndecodableError, match="damaged or truncated"):
        decode_bytes(content[: len(content) * 2 // 3] + b"\xff\xd9")


MEASURE = """
import resource, sys
from pathlib import Path
from mnistlab.data import images
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with images.quiet_pillow():
    found = images.decode(Path(sys.argv[1]))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(*found.own_size, *found.grey.size, (after - before) // 1024)
"""


@needs.linux
def test_a_photo_of_108_megapixels_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[274] = 6
    photo(12_000, 9000).save(path, exif=exif, quality=60)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    *sizes, megabytes = map(int, done.stdout.split())
    assert sizes == [12_000, 9000, 2250, 3000]
    assert megabytes < 250  # the pixels alone are 432


def tree(root: Path, *sizes: tuple[int, int]) -> Path:
    for split in ("train", "valid"):
        for name in "ab":
            (root / split / name).mkdir(parents=True)
            for number, size in enumerate(sizes * 2):
                image = photo(*size, seed=number + 9 * ord(name))
                image.save(root / split / name / f"{number}.jpg")
    return root


@needs.deleting
def test_what_goes_in_as_it_is_is_never_reduced_and_what_is_too_large_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "photos", (120, 80))
    monkeypatch.setattr("mnistlab.data.scan.YOUNG_NS", 0)
    monkeypatch.setattr(images, "WHOLE_PIXELS", 120 * 80)
    loaded = load_folders(root)
    assert loaded.image_size == (80, 120)
    assert loaded.fit is None
    first = decode(root / "train" / loaded.train.files[0]).grey
    assert loaded.train_ds[0][0].tolist() == np.asarray(first).tolist()

    monkeypatch.setattr(images, "WHOLE_PIXELS", 120 * 80 - 1)
    (root / "train" / "a" / "0.jpg").touch()
    (root / "valid" / "a" / "0.jpg").touch()
    steps: list[tuple[str, int, int]] = []
    loaded = load_folders(root, progress=lambda *step: steps.append(step))
    assert loaded.image_size == (28, 28)
    assert loaded.fit == "pad"
    assert loaded.notes[0].startswith("sizes   train: 120 x 80 brought to 28 x 28 (--fit pad")
    assert {done for split, done, _ in steps if split == "train"} == {0, 1, 2, 3, 4}  # each
    steps.clear()
    again = load_folders(root, progress=lambda *step: steps.append(step))
    assert not steps
    assert again.fingerprint == loaded.fingerprint
    assert again.notes == loaded.notes


@pytest.mark.usefixtures("own_threads")
def test_threads_decode_photos_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "photos", *((40 + 3 * k, 60) for k in range(12)))
    (root / "train" / "a" / "5.jpg").write_bytes(b"no image")
    (root / "train" / "b" / "7.jpg").write_bytes(b"")
    seen: set[int] = set()
    real = decode

    def noted(path: Path) -> images.Decoded:
        seen.add(threading.get_ident())
        return real(path)

    monkeypatch.setattr(images, "decode", noted)
    found = []
    for count, least in ((1, 0), (4, 10**9), (4, 0)):
        torch.set_num_threads(count)
        monkeypatch.setattr(images, "_PHOTO_BYTES", least)
        seen.clear()
        found.append(load_folders(root, skip_bad=True))
        assert (len(seen) > 1) == (count > 1 and least == 0)
    assert len({data.fingerprint for data in found}) == 1
    assert found[0].skipped == found[2].skipped
    assert len(found[0].skipped) == 2
    assert found[0].train.files == found[2].train.files


def test_heic_is_named_where_it_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_available", lambda: ("PNG", "JPEG", "AVIF"))
    why = r"^HEIC: install mnistlab\[heif\], or save it as JPEG$"
    with pytest.raises(UndecodableError, match=why):
        decode_bytes(HEIC)
    with pytest.raises(UndecodableError, match="not an image in a known format"):
        decode_bytes(HEIC.replace(b"heic", b"mp42"))


def test_heic_is_read_where_its_library_is_installed() -> None:
    pytest.importorskip("pillow_heif")
    stored = io.BytesIO()
    Image.init()
    with images.quiet_pillow():
        photo(64, 48).save(stored, "HEIF", quality=95)
        found = decode_bytes(stored.getvalue())
        assert found.own_size == (48, 64)
        assert found.colour is not None
        expected = np.asarray(photo(64, 48).convert("L")).astype(int)
        assert np.abs(np.asarray(found.grey) - expected).mean() < 4
        with pytest.raises(UndecodableError):
            decode_bytes(stored.getvalue()[:-400])
