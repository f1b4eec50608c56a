"""However a folder is laid out, it trains at the first try, and says how it was read."""

import csv
import gzip
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistlab import load_data
from mnistlab.data.splitting import split_by_digest
from mnistlab.errors import DataError
from mnistlab.experiment import train_run
from tests import needs
from tests.command import Result
from tests.conftest import make_tree

Make = Callable[[Path], None]
CLASSES = ("dark", "light")


def splits(train: str, valid: str, test: str = "") -> Make:
    def make(root: Path) -> None:
        make_tree(root)
        if test:
            shutil.copytree(root / "valid", root / "of-test")
            (root / "of-test").rename(root / test)
        (root / "train").rename(root / "of-train")
        (root / "of-train").rename(root / train)
        (root / "valid").rename(root / "of-valid")
        (root / "of-valid").rename(root / valid)

    return make


def train_alone(root: Path) -> None:
    make_tree(root)
    shutil.rmtree(root / "valid")


def classes_alone(root: Path) -> None:
    make_tree(root / "x")
    shutil.move(root / "x" / "train" / "dark", root / "dark")
    shutil.move(root / "x" / "train" / "light", root / "light")
    shutil.rmtree(root / "x")


def nested(root: Path) -> None:
    """Images in folders by writer, below the class folders; litter everywhere."""
    make_tree(root)
    for path in sorted(root.rglob("*.png")):
        writer = path.parent / f"writer{int(path.stem) % 3}"
        writer.mkdir(exist_ok=True)
        path.rename(writer / path.name)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (root / "train" / "dark" / name).write_text("x")
    (root / "train" / "@eaDir").mkdir()
    (root / "__MACOSX").mkdir()


def images_of(root: Path) -> Iterator[tuple[Path, str, str]]:
    make_tree(root / "x")
    for path in sorted((root / "x").rglob("*.png")):
        yield path, path.parent.name, path.parent.parent.name


def table(
    heading: str, row: str, folder: str = "images/", name: str = "labels.csv", valid: bool = True
) -> Make:
    """Images in one folder, and a table with `row` for each, made of its name, class, split."""

    def make(root: Path) -> None:
        rows = [heading]
        (root / folder).mkdir(parents=True)
        for path, label, split in images_of(root):
            if valid or split == "train":
                stem = f"{split}-{label}-{path.stem}"
                shutil.copy(path, root / folder / f"{stem}.png")
                is_valid = split == "valid"
                test = "test" if is_valid else split
                rows.append(
                    row.format(stem=stem, label=label, split=split, is_valid=is_valid, test=test)
                )
        shutil.rmtree(root / "x")
        (root / name).write_text("\n".join(rows) + "\n", encoding="utf-8")

    return make


def arrays(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found: dict[str, tuple[list[np.ndarray], list[int]]] = {"train": ([], []), "valid": ([], [])}
    for path, label, split in images_of(root):
        found[split][0].append(np.asarray(Image.open(path)))
        found[split][1].append(CLASSES.index(label))
    shutil.rmtree(root / "x")
    return {name: (np.stack(x), np.array(y, np.uint8)) for name, (x, y) in found.items()}


def npz(root: Path) -> None:
    both = arrays(root)
    (x, y), (x2, y2) = both["train"], both["valid"]
    np.savez(root / "mnist.npz", x_train=x, y_train=y, x_test=x2, y_test=y2)


def npz_of_floats_in_colour(root: Path) -> None:
    both = arrays(root)
    (x, y), (x2, y2) = both["train"], both["valid"]
    x, x2 = (np.repeat(each[..., None], 3, axis=3) / np.float32(255) for each in (x, x2))
    np.savez_compressed(root / "own.npz", train_images=x, train_labels=y, test_images=x2,
                        test_labels=np.eye(2)[y2])  # fmt: skip


def idx(root: Path, *, turned: bool = False) -> None:
    both = arrays(root)
    for split, stem in (("train", "train"), ("valid", "t10k")):
        x, y = both[split]
        x[:, 0, 1] = 7  # else they would be their own mirror images
        x = np.ascontiguousarray(x.swapaxes(1, 2)) if turned else x
        head = struct.pack(">4B3I", 0, 0, 8, 3, *x.shape)
        (root / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + x.tobytes()))
        head = struct.pack(">4BI", 0, 0, 8, 1, len(y))
        (root / f"{stem}-labels-idx1-ubyte").write_bytes(head + y.tobytes())


def kaggle(files: dict[str, str], heading: bool = True) -> Make:
    def make(root: Path) -> None:
        both = arrays(root)
        for split, name in files.items():
            with open(root / name, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                if heading:
                    writer.writerow(["label", *(f"pixel{i}" for i in range(16))])
                for image, label in zip(*both[split], strict=True):
                    writer.writerow([label, *image.flatten().tolist()])

    return make


def inside(make: Make, *folders: str) -> Make:
    def made(root: Path) -> None:
        place = root.joinpath(*folders)
        place.mkdir(parents=True)
        make(place)

    return made


LAYOUTS: dict[str, Make] = {
    "train, valid": make_tree,  # type: ignore[dict-item]
    "train, val": splits("train", "val"),
    "Train, Validation": splits("Train", "Validation"),
    "TRAINING, VALID": splits("TRAINING", "VALID"),
    "train, test": splits("train", "test"),
    "training, testing": splits("training", "testing"),
    "train, val, test": splits("train", "val", "test"),
    "train, valid, Testing": splits("train", "valid", "Testing"),
    "train alone": train_alone,
    "class folders": classes_alone,
    "by writer": nested,
    "labels.csv": table("file,label", "{stem}.png,{label}"),
    "labels.csv, paths": table("path,class", "images/{stem}.png,{label}"),
    "labels.csv, backslashes": table("filename,label", "images\\{stem}.png,{label}"),
    "fast.ai": table("name,label,is_valid", "images/{stem}.png,{label},{is_valid}"),
    "split column": table("file,label,split", "{stem}.png,{label},{split}"),
    "split column, test": table("file,label,split", "{stem}.png,{label},{test}"),
    "semicolons": table("Image Name;Category", "{stem}.png;{label}"),
    "no endings": table("id,breed", "{stem},{label}", folder="train/", name="train.csv"),
    "a quoted path": table("image,label", '"{stem}.png",{label}', name="my labels.csv"),
    "kaggle": kaggle({"train": "train.csv"}),
    "two tables": kaggle({"train": "mnist_train.csv", "valid": "mnist_test.csv"}),
    "no heading": kaggle({"train": "mnist_train.csv", "valid": "mnist_test.csv"}, heading=False),
    "npz": npz,
    "npz, floats": npz_of_floats_in_colour,
    "IDX": idx,
}
SPLIT_HERE = {"train alone", "class folders", "labels.csv", "labels.csv, paths", "semicolons"}
SPLIT_HERE |= {"labels.csv, backslashes", "no endings", "a quoted path", "kaggle"}
TEST_SCORES = {"train, test", "training, testing", "split column, test", "npz", "npz, floats"}
TEST_SCORES |= {"IDX", "two tables", "no heading"}
PACKED = ("train, valid", "train, val, test", "train alone", "class folders", "labels.csv", "npz")
CASES = [(name, how) for name in LAYOUTS for how in ("", "deep")]
CASES += [(name, "zip") for name in PACKED]
TARS = [pytest.param(name, how, marks=needs.tar) for name in PACKED for how in ("gztar", "xztar")]


@pytest.mark.parametrize(("name", "how"), [*CASES, *TARS])
def test_it_trains_without_a_flag(
    tmp_path: Path, mnistlab: Callable[..., Result], name: str, how: str
) -> None:
    place = tmp_path / "own"
    inside(LAYOUTS[name], *(("archive", "digits") if how == "deep" else ()))(place)
    if how not in ("", "deep"):
        place = Path(shutil.make_archive(str(tmp_path / "packed"), how, tmp_path, "own"))
    result = mnistlab("train", "--data", place, "--epochs", "40", "--json").ok()
    assert result.json["accuracy"] == 1.0
    assert len(result.json["classes"]) == 2
    plain = name == "train, valid" and not how
    assert ("layout  " in result.err) == ((not plain and name != "by writer") or how != "")
    assert ("20 % are for validation" in result.err) == (name in SPLIT_HERE)
    assert ("as there is no valid" in result.err) == (name in TEST_SCORES)
    again = mnistlab("eval", "--json").ok().json
    assert again["accuracy"] == 1.0
    total = sum(sum(row.values()) for row in again["confusion"].values())
    assert total == again["n"] == (8 if name not in SPLIT_HERE else total)


def test_there_are_at_least_forty_layouts() -> None:
    assert len([*CASES, *TARS]) >= 40


def test_a_layout_does_not_change_what_is_learned(tmp_path: Path) -> None:
    """The same images in the same splits give the same fingerprint, whatever holds them."""
    same = ("train, valid", "train, val", "train, test", "split column", "fast.ai")
    prints = set()
    for name in same:
        LAYOUTS[name](tmp_path / name)
        prints.add(load_data(tmp_path / name).train.counts["dark"])
    assert prints == {12}
    make_tree(tmp_path / "a")
    splits("training", "val")(tmp_path / "b")
    assert load_data(tmp_path / "a").fingerprint == load_data(tmp_path / "b").fingerprint


def test_arrays_that_lie_on_their_side_are_turned(tmp_path: Path) -> None:
    idx(tmp_path / "a")
    idx(tmp_path / "b", turned=True)
    upright = load_data(tmp_path / "a").fingerprint
    assert load_data(tmp_path / "b").fingerprint != upright
    assert load_data(tmp_path / "b", transpose=True).fingerprint == upright


@pytest.mark.parametrize("name", ["IDX", "labels.csv", "kaggle", "npz"])
def test_labels_that_change_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also where the images stay as they are and come from the cache."""
    monkeypatch.setattr("mnistlab.data.scan.YOUNG_NS", 0)  # so that all is kept
    root = tmp_path / "own"
    LAYOUTS[name](root)
    before = load_data(root)
    with monkeypatch.context() as patch:  # the second time nothing is decoded
        patch.setattr("mnistlab.data.folders._decode", None)
        assert load_data(root).fingerprint == before.fingerprint
    if name == "IDX":
        path = root / "train-labels-idx1-ubyte"
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    elif name == "npz":
        content = dict(np.load(root / "mnist.npz"))
        content["y_train"][-1] = 0
        np.savez(root / "mnist.npz", **content)
    else:
        path = root / ("train.csv" if name == "kaggle" else "labels.csv")
        lines = path.read_text(encoding="utf-8").splitlines()
        last = lines[-1]
        lines[-1] = last.replace(",light", ",dark") if "light" in last else "0" + last[1:]
        assert lines[-1] != last
        path.write_text("\n".join(lines), encoding="utf-8")
    after = load_data(root)
    assert sum(after.train.counts.values()) == sum(before.train.counts.values())
    assert after.fingerprint != before.fingerprint


def test_a_test_split_is_used_by_nothing_but_who_asks_for_it(
    tmp_path: Path, mnistlab: Callable[..., Result]
) -> None:
    root = tmp_path / "own"
    splits("train", "val", "test")(root)
    before = load_data(root).fingerprint
    (root / "test" / "dark" / "0.png").write_bytes(b"damaged")
    assert load_data(root).fingerprint == before
    run = train_run({"data": str(root), "epochs": 3})
    refused = mnistlab("eval", run.path, "--split", "test")
    assert refused.code == 2
    assert "test/dark/0.png: not an image" in refused.err
    (root / "test" / "dark" / "0.png").unlink()
    assert mnistlab("eval", run.path, "--split", "test", "--json").ok().json["n"] == 7


# The split that is made here


def digest(place: float) -> bytes:
    return int(place * 2**64).to_bytes(8, "big")


def test_an_image_is_for_validation_where_its_digest_is_below_the_share() -> None:
    places = [0.1, 0.19, 0.21, 0.9]
    chosen = split_by_digest(["a"] * 4, list(map(digest, places)), 0.2)
    assert chosen == [True, True, False, False]


def test_a_class_with_an_empty_side_gives_it_the_image_that_is_nearest() -> None:
    labels = ["a", "a", "a", "b", "b", "b"]
    digests = list(map(digest, [0.5, 0.3, 0.9, 0.1, 0.05, 0.15]))
    assert split_by_digest(labels, digests, 0.2) == [False, True, False, True, True, False]


def test_equal_images_are_on_one_side(tmp_path: Path) -> None:
    make_tree(tmp_path / "x", train=30)
    root = tmp_path / "x" / "train"
    for path in list(root.rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    data = load_data(root)
    pixels = [
        {image.numpy().tobytes() for image in split.ds.tensors[0]}
        for split in (data.train, data.valid)
    ]
    assert not pixels[0] & pixels[1]


def test_images_that_are_renamed_or_added_move_no_other(tmp_path: Path) -> None:
    make_tree(tmp_path / "x", train=30, size=(6, 6))
    root = tmp_path / "x" / "train"

    def valid() -> set[bytes]:
        return {image.numpy().tobytes() for image in load_data(root).valid_ds.tensors[0]}

    before = valid()
    (root / "dark" / "3.png").rename(root / "dark" / "other.png")
    assert valid() == before
    for i in range(20):
        Image.new("L", (6, 6), i + 3).save(root / "dark" / f"new{i}.png")
    assert valid() >= before


def test_the_share_is_a_setting_of_the_run(tmp_path: Path, mnistlab: Callable[..., Result]) -> None:
    make_tree(tmp_path / "x", train=60, size=(6, 6))
    root = tmp_path / "x" / "train"
    flags = ("train", "--data", root, "--epochs", "1", "--json")
    half = mnistlab(*flags, "--valid-fraction", "0.5").ok()
    assert "50 % are for validation" in half.err
    n = mnistlab("eval", "--json").ok().json["n"]
    assert 40 < n < 80
    mnistlab("runs", "verify").ok()
    mnistlab(*flags).ok()
    assert mnistlab("eval", "--json").ok().json["n"] < 40


def test_a_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    make_tree(tmp_path / "x")
    root = tmp_path / "x" / "train"
    for path in sorted((root / "dark").iterdir())[1:]:
        shutil.copy(root / "dark" / "0.png", path)
    with pytest.raises(
        DataError, match="the class dark has fewer than two different images; a split needs two"
    ):
        load_data(root)


# What is refused, and with what advice


def test_two_readings_are_named_with_the_flag_that_decides(tmp_path: Path) -> None:
    make_tree(tmp_path / "x")
    root = tmp_path / "x" / "train"
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in root.rglob("*.png")]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]))
    with pytest.raises(DataError) as refused:
        load_data(root)
    text = str(refused.value)
    assert "--layout classes class folders dark/, light/" in text
    assert "--layout table   labels.csv" in text
    for layout in ("classes", "table"):
        assert load_data(root, layout=layout).classes == CLASSES
    with pytest.raises(DataError, match="--layout splits does not fit"):
        load_data(root, layout="splits")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("file,label\nnone.png,a\n", "line 2: none.png: no such file below"),
        ("file,label\n../x.png,a\n", r"line 2: \.\./x.png: no such file below"),
        ("file,label\n0.png,\n", "line 2: no label for 0.png"),
        ("file,label\n0.png,a\n0.png,b\n", "line 3: 0.png is b in train here, and a"),
        ("file,label\n0.png\n", "line 2: 1 cells, and its heading has more"),
        ("file,label,split\n0.png,a,somewhere\n", "line 2: somewhere is no split"),
        ("file,label\n", "names no image"),
        ("file,label\n0.png,a\n1.png,a\n", "only one class"),
        ("file,colour\n0.png,a\n", "no column of labels"),
    ],
)
def test_a_table_that_cannot_be_right(tmp_path: Path, damage: str, why: str) -> None:
    for i in range(2):
        Image.new("L", (4, 4), 100 * i).save(tmp_path / f"{i}.png")
    (tmp_path.parent / "x.png").write_bytes(b"outside")
    (tmp_path / "labels.csv").write_text(damage)
    with pytest.raises(DataError, match=why):
        load_data(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("name", "why"),
    [("train/dark", "images of one class; did you mean .*train"), ("empty", "no images that can")],
)
def test_a_folder_too_deep_or_empty_is_told(tiny: Path, name: str, why: str) -> None:
    (tiny / "empty").mkdir()
    with pytest.raises(DataError, match=why):
        load_data(tiny / name)


def test_two_folders_for_one_split_are_refused(tiny: Path) -> None:
    (tiny / "val").mkdir()
    with pytest.raises(DataError, match="val/ and valid/ can both be valid"):
        load_data(tiny)


def test_the_validation_images_may_be_in_a_folder_of_their_own(
    tiny: Path, mnistlab: Callable[..., Result]
) -> None:
    (tiny / "valid").rename(tiny.parent / "held out")
    flags = ("--data", tiny / "train", "--valid", tiny.parent / "held out", "--epochs", "1")
    assert "valid is " in mnistlab("train", *flags).ok().err
    assert mnistlab("eval", "--json").ok().json["n"] == 8


@needs.any_name
def test_of_names_that_look_alike_the_other_one_is_told(tiny: Path) -> None:
    (tiny / "valid" / "dark").rename(tiny / "valid" / "Dark ")
    with pytest.raises(DataError, match=r"'Dark ' there is like it"):
        load_data(tiny)


@needs.any_name
@needs.accents
def test_one_name_in_two_unicode_forms_is_one_class(tmp_path: Path) -> None:
    make_tree(tmp_path, ("\u00e9", "o"))
    (tmp_path / "valid" / "\u00e9").rename(tmp_path / "valid" / "e\u0301")
    assert load_data(tmp_path).classes == ("o", "\u00e9")


def test_a_dataset_goes_before_a_folder_of_its_name_and_says_so(
    tiny: Path, mnistlab: Callable[..., Result]
) -> None:
    tiny.rename(tiny.parent / "mnist_sample")
    said = mnistlab("train", "-n").ok().err
    assert "mnist_sample is the dataset of that name; the folder is --data ./mnist_sample" in said
    assert "of that name" not in mnistlab("train", "-n", "--data", "./mnist_sample").ok().err


# Sizes


def test_images_of_several_sizes_are_brought_to_one_and_other_images_in_the_same_way(
    tiny: Path, mnistlab: Callable[..., Result]
) -> None:
    """eval, predict and Python see what training saw, to the bit."""
    for split in ("train", "valid"):
        for i, path in enumerate(sorted((tiny / split).rglob("*.png"))):
            Image.open(path).resize((20 + i, 31)).save(path)
    for fit in ("pad", "crop", "stretch"):
        flags = ("--data", tiny, "--epochs", "3", "--image-size", "12x16", "--fit", fit)
        result = mnistlab("train", *flags).ok()
        assert f"brought to 16 x 12 (--fit {fit}" in result.err
        data = load_data(tiny, image_size=(12, 16), fit=fit)
        assert data.image_size == (12, 16)
        files = [tiny / data.valid.path_of(i) for i in range(len(data.valid.files))]
        mnistlab("predict", "latest", *files, "--save-prepared", f"seen-{fit}").ok()
        seen = sorted(Path(f"seen-{fit}").iterdir())
        for image, path in zip(data.valid_ds.tensors[0], seen, strict=True):
            assert np.array_equal(image.numpy(), np.asarray(Image.open(path)))
        assert mnistlab("eval", "--json").ok().json["n"] == 8
        assert mnistlab("eval", "--data", tiny, "--json").ok().json["n"] == 8
    assert load_data(tiny).image_size == (28, 28)


def test_images_of_one_size_go_in_as_they_are(tiny: Path) -> None:
    pixels = np.asarray(Image.open(tiny / "train" / "dark" / "0.png"))
    data = load_data(tiny)
    assert np.array_equal(data.train_ds.tensors[0][0].numpy(), pixels)
    assert data.notes == ()
    assert load_data(tiny, image_size=(4, 4)).fingerprint == data.fingerprint
    assert load_data(tiny, image_size=(8, 8), fit="stretch").image_size == (8, 8)


def test_photos_of_handwriting_are_trained_as_ink(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("valid", 2)):
        for label, box in (("dash", (60, 90, 200, 110)), ("bar", (90, 60, 110, 200))):
            for i in range(count):
                paper = Image.new("L", (240 + i, 260), 200)
                left, top, right, bottom = box
                shift = int(random.integers(0, 20))
                paper.paste(30, (left + shift, top, right + shift, bottom))
                path = tmp_path / split / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                paper.save(path)
    data = load_data(tmp_path, fit="ink")
    assert data.image_size == (28, 28)
    levels = data.train_ds.tensors[0].numpy()
    assert levels[:, 0].max() == 0  # black around white ink
    assert levels.max() == 255
    run = train_run({"data": str(tmp_path), "fit": "ink", "epochs": 5})
    record = run.record()
    assert record.result is not None
    assert record.result.accuracy == 1.0
    assert record.config.image_size == "28x28"
