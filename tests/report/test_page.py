"""The report: its structure, and that every figure and image in it is the run's."""

import csv
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mnistlab.report.gallery import Gathered, gather
from PIL import Image

from mnistlab.data.folders import ImageData
from mnistlab.errors import DataError, RunError
from mnistlab.report.page import render
from mnistlab.runs import Run
from tests.command import Result, run_in_process
from tests.conftest import make_tree
from tests.report.markup import Node, image_of, parse

Mnistlab = Callable[..., Result]


@pytest.fixture(scope="session")
def page(digits_page: str) -> Node:
    return parse(digits_page)


def trained(*arguments: str | Path) -> Run:
    run_in_process("train", "-q", *arguments).ok()
    return Run(max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime_ns))


def rewritten(run: Run, **changes: Any) -> None:
    run.write_info({**run.info(), **changes})


# structure


def test_the_page_is_well_formed_and_names_all_its_parts(page: Node) -> None:
    [root] = page.all("html")
    assert root.attributes["lang"] == "en"
    [viewport] = [m for m in page.all("meta") if m.attributes.get("name") == "viewport"]
    assert viewport.attributes["content"] == "width=device-width, initial-scale=1"
    levels = [int(node.tag[1]) for node in page.walk() if re.fullmatch("h[1-6]", node.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    ids = [node.attributes["id"] for node in page.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in page.walk():
        for name in node.attributes.get("aria-labelledby", "").split():
            assert name in ids
        if node.tag == "a":
            assert node.attributes["href"].removeprefix("#") in ids
    for section in page.all("section"):
        assert section.all("h2"), section.attributes
    assert [len(page.all(tag)) for tag in ("header", "main", "footer", "nav")] == [1, 1, 1, 1]


def test_every_table_and_image_can_be_read_aloud(page: Node) -> None:
    assert len(page.all("table")) >= 6
    for table in page.all("table"):
        assert table.all("caption")[0].text
        assert all(cell.attributes["scope"] in ("col", "row") for cell in table.all("th"))
        assert len({len(row) for row in table.rows()}) == 1
    assert all(len(image.attributes["alt"]) > 5 for image in page.all("img"))
    for svg in page.all("svg"):
        assert svg.attributes["role"] == "img"
        assert svg.all("title")[0].text
        assert svg.all("desc")[0].text


def test_nothing_in_the_page_leads_outside(page: Node, digits_page: str) -> None:
    tags = {node.tag for node in page.walk()}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "video"}
    for node in page.walk():
        assert not [name for name in node.attributes if name.startswith("on")]
        assert node.attributes.get("src", "data:image/png;").startswith("data:image/png;")
        assert node.attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import", digits_page)
    assert "http:" not in digits_page
    assert "https:" not in digits_page
    [policy] = [m for m in page.all("meta") if "http-equiv" in m.attributes]
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:; ")


def test_the_same_run_gives_the_same_bytes(digits: Gathered, digits_page: str) -> None:
    assert render(digits) == digits_page
    assert len(digits_page.encode()) < 100_000


# figures


def test_the_figures_are_those_of_eval(page: Node, digits_run: Run) -> None:
    told = run_in_process("eval", digits_run.path, "--json").ok().json
    result = page.id("result")
    assert result.all("strong")[0].text == f"{told['accuracy']:.6f}"
    shown = dict(zip([n.text for n in result.all("dt")], [n.text for n in result.all("dd")],
                     strict=True))  # fmt: skip
    low, high = told["interval"]
    assert shown == {
        "right": f"{told['correct']:,} of 2,038",
        "wrong": str(2038 - told["correct"]),
        "95 % interval (Wilson)": f"{low:.4f} to {high:.4f}",
        "balanced accuracy": f"{told['balanced_accuracy']:.6f}",
        "loss": f"{told['loss']:.6f}",
    }
    head, *rows = result.all("table")[0].rows()
    assert head == ["class", "images", "recall", "precision", "F1"]
    assert rows == [
        [name, count, *(f"{told[key][name]:.4f}" for key in ("recall", "precision", "f1"))]
        for name, count in (("3", "1,010"), ("7", "1,028"))
    ] + [["mean", "", f"{told['balanced_accuracy']:.4f}", "", f"{told['macro_f1']:.4f}"]]
    matrix = page.id("confusion").all("table")[0].rows()
    assert matrix[0] == ["is \\ called", "3", "7"]
    assert matrix[1:] == [
        [actual, *(f"{told['confusion'][actual][name]:,}" for name in ("3", "7"))]
        for actual in ("3", "7")
    ]


def test_the_epochs_are_those_of_the_metrics_file(page: Node, digits_run: Run) -> None:
    with (digits_run.path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(range(4), key=lambda epoch: float(rows[epoch]["accuracy"]))
    shown = page.id("curves").all("table")[0].rows()[1:]
    assert shown == [
        [
            row["epoch"] + (" best" if place == best else ""),
            *(f"{float(row[key]):.6f}" for key in ("train_loss", "valid_loss", "accuracy")),
        ]
        for place, row in enumerate(rows)
    ]


def test_settings_data_environment_and_how_to_repeat_are_the_run_s(
    page: Node, digits_run: Run
) -> None:
    info = digits_run.info()
    settings = {row[0]: row[1:] for row in page.id("settings").all("table")[0].rows()[1:]}
    assert settings["epochs"] == ["4", "--epochs"]
    assert settings["lr"] == ["1.0", "default of linear"]
    assert settings["shuffle"] == ["true", "default"]
    assert "hidden" not in settings  # the linear model has none
    environment = page.id("settings").all("dl")[0].text
    assert all(str(value) in environment for value in info["environment"].values())
    data = page.id("data")
    assert data.all("table")[0].rows()[1:] == [
        ["3", "6,131", "1,010"], ["7", "6,265", "1,028"], ["all", "12,396", "2,038"],
    ]  # fmt: skip
    assert info["data"]["fingerprint"] in data.text
    repeat = page.id("repeat")
    path = digits_run.path
    assert [code.text for code in repeat.all("code")] == [
        f"mnistlab train --epochs 4 --run-dir {path.parent} -q",
        f"mnistlab train --config {path / 'config.toml'}",
        f"mnistlab runs verify {path}",
        f"mnistlab eval {path}",
    ]
    assert info["result"]["weights_sha256"] in repeat.text
    files = {row[0]: row[1] for row in repeat.all("table")[0].rows()[1:]}
    assert files == {
        name: f"{(path / name).stat().st_size:,}"
        for name in ("config.toml", "metrics.csv", "run.json", "model.safetensors",
                     "best.safetensors", "resume.safetensors")
    }  # fmt: skip


# images


def test_the_mistakes_are_the_dataset_s_own_files(
    page: Node, digits: Gathered, sample: ImageData
) -> None:
    assert digits.score is not None
    images = page.id("mistakes").all("img")
    assert len(images) == 24
    sure = []
    for image in images:
        alt = image.attributes["alt"]
        found = re.fullmatch(r"(.) taken for (.), probability ([\d.]+), valid/(.)/\d+\.png", alt)
        assert found, alt
        assert found[1] == found[4] != found[2]
        sure.append(float(found[3]))
        with Image.open(sample.root / alt.split(", ")[-1]) as original:
            assert np.array_equal(np.asarray(original), np.asarray(image_of(image)))
    assert sure == sorted(sure, reverse=True)
    assert sure[-1] > 0.5


def test_the_samples_are_files_of_their_class(page: Node, sample: ImageData) -> None:
    section = page.id("samples")
    assert [title.text for title in section.all("h3")] == ["3", "7"]
    for title, group in zip("37", section.all("ul"), strict=True):
        images = group.all("img")
        assert len({image.attributes["alt"] for image in images}) == 8
        for image in images:
            name, file = image.attributes["alt"].split(", ")
            assert name == title == Path(file).parent.name
            with Image.open(sample.root / file) as original:
                assert np.array_equal(np.asarray(original), np.asarray(image_of(image)))


def test_the_weights_are_the_model_s(page: Node, digits: Gathered) -> None:
    [image] = page.id("weights").all("img")
    weights = digits.model.state_dict()["weights"].numpy().reshape(28, 28)
    scaled = np.round((weights / np.abs(weights).max() + 1) / 2 * 255)
    with image_of(image) as drawn:
        assert drawn.mode == "P"
        assert np.abs(np.asarray(drawn) - scaled).max() <= 1  # half a level of rounding
        red, _, blue = np.moveaxis(np.asarray(drawn.convert("RGB")).astype(int), 2, 0)
    assert (red - blue)[weights == weights.max()] > 100  # speaks for 3
    assert (blue - red)[weights == weights.min()] > 50


# what is odd


def test_names_from_folders_and_paths_are_text_and_nothing_else(tmp_path: Path) -> None:
    # no slash can stand in a name, so the tag is closed by the browser or not at all
    names = ("<script>alert(1)<!--", "\"><img src=x onerror='a'>&amp;", "{{ 7*7 }}{% raw %}")
    data = make_tree(tmp_path / "<b>&data\u202e", names, train=6, valid=3)
    tree = parse(render(gather(trained("--data", data, "--epochs", "2"))))
    assert not tree.all("script")
    assert tree.all("h1")[0].text == "linear on <b>&data\\u202e"  # turned round by nothing
    head = tree.id("confusion").all("table")[0].rows()[0]
    assert head[1:] == sorted(names, key=head.index)
    assert all(i.attributes["src"].startswith("data:image/png") for i in tree.all("img"))
    assert [m.tag for m in tree.id("data").walk() if m.tag in ("img", "b")] == []


def test_without_its_data_the_page_has_what_the_run_folder_has(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "5")
    info = run.info()
    whole = parse(render(gather(run)))
    shutil.rmtree(tiny)
    found = gather(run)
    assert f"{tiny}: no such folder" in found.missing["data"]
    tree = parse(render(found))
    assert f"{tiny}: no such folder" in tree.all("p", "note")[0].text
    ids = {node.attributes.get("id") for node in tree.walk()}
    assert not ids & {"confusion", "mistakes", "samples"}
    assert ids >= {"result", "curves", "weights", "data", "settings", "repeat"}
    assert tree.all("strong")[0].text == f"{info['result']['accuracy']:.6f}"
    # the interval needs the counts only, the loss is that of the last epoch
    figures = [node.text for node in whole.id("result").all("dd")]
    assert [node.text for node in tree.id("result").all("dd")] == figures[:3] + figures[4:]
    with pytest.raises(DataError, match="no such folder"):
        gather(run, data=str(tiny))
    with pytest.raises(DataError, match="split vlaid: unknown; did you mean valid"):
        gather(run, split="vlaid")


def test_without_run_json_the_page_has_the_model_and_what_it_is_given(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "5")
    accuracy = run.info()["result"]["accuracy"]
    run.info_file.unlink()
    bare = parse(render(gather(run)))
    assert len(bare.all("p", "note")) == 2
    assert "noted down no result" in bare.id("result").text
    given = gather(run, data=str(tiny))
    assert list(given.missing) == ["info"]
    tree = parse(render(given))
    assert tree.all("strong")[0].text == f"{accuracy:.6f}"
    assert "run.json: no such file" in tree.all("p", "note")[0].text
    run.info_file.write_text("{")
    assert "not valid JSON" in gather(run).missing["info"]


@pytest.mark.parametrize(
    "info",
    [
        {"result": [], "config": 3, "data": "x", "environment": None, "origins": [], "command": 1},
        {"result": {"epochs": [{"epoch": 0}, 7], "accuracy": "high", "seeds": [1], "band": {}}},
        {"data": {"train": {"a": "many"}, "valid": [1], "fingerprint": 7, "skipped": 1}},
        {"result": {"accuracy": float("nan"), "best": 3, "summary": []}, "created": 5, "mixed": 1},
        {"config": {"epochs": "ten", "model": ["x"], "data": None}},
    ],
)
def test_a_run_json_that_makes_no_sense_makes_no_error(tiny: Path, info: dict[str, Any]) -> None:
    run = trained("--data", tiny, "--epochs", "3")
    run.info_file.write_text(json.dumps(info))
    for best in (False, True):
        parse(render(gather(run, data=str(tiny), best=best)))
        parse(render(gather(run, best=best)))


def test_a_run_that_saved_no_model_is_an_error(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "1")
    run.model_file.unlink()
    with pytest.raises(RunError, match="the run has saved no model yet"):
        gather(run)


def test_what_makes_the_figures_doubtful_is_said_above_them(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "3")

    def notes() -> str:
        return " ".join(note.text for note in parse(render(gather(run))).all("p", "note"))

    assert notes() == ""
    Image.new("L", (4, 4), 9).save(tiny / "valid/light/0.png")
    assert "images of valid have changed since the training" in notes()
    rewritten(run, status="stopped", mixed=True)
    assert "stopped before its last epoch" in notes()
    assert "last bits cannot be repeated" in notes()
    result = {**run.info()["result"], "weights_sha256": "0" * 64}
    rewritten(run, result=result)
    assert "not those that run.json names" in notes()


def test_the_best_weights_and_another_split_are_named(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "6")
    tree = parse(render(gather(run, best=True, split="train")))
    epoch = run.info()["result"]["best"]["epoch"]
    told = tree.all("p", "big")[0].text
    assert "on the train images" in told
    assert f"with the best weights (epoch {epoch})" in told
    assert "of 24" in tree.id("result").text
    assert [c.text for c in tree.all("code")][-1] == f"mnistlab eval {run.name} --best"
    assert all("train/" in i.attributes["alt"] for i in tree.id("samples").all("img"))


def test_a_baseline_has_mean_images_and_no_curves(tiny: Path, mnistlab: Mnistlab) -> None:
    mnistlab("baseline", "pixel-similarity", "--data", tiny, "-q").ok()
    run = Run(next(Path("runs").iterdir()))
    tree = parse(render(gather(run)))
    assert "curves" not in {node.attributes.get("id") for node in tree.walk()}
    assert [i.attributes["alt"] for i in tree.id("weights").all("img")] == ["dark", "light"]
    assert [c.text for c in tree.all("code")] == [
        f"mnistlab baseline pixel-similarity --data {tiny} -q",
        f"mnistlab runs verify {run.name}",
        f"mnistlab eval {run.name}",
    ]
    mean = np.mean([np.asarray(Image.open(f)) for f in (tiny / "train/dark").iterdir()], axis=0)
    drawn = np.asarray(image_of(tree.id("weights").all("img")[0]))
    assert np.abs(drawn - mean).max() <= 0.51


def test_several_seeds_are_a_band_and_a_table(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "3")
    rows = [{"epoch": e, "train_loss": 0.5, "valid_loss": 0.4, "mean": 0.7 + e / 10,
             "min": 0.6 + e / 10, "max": 0.9, "sd": 0.1} for e in range(3)]  # fmt: skip
    seeds = [
        {"seed": 5, "train_loss": 0.1, "valid_loss": 0.2, "accuracy": 0.75, "diverged": None},
        {"seed": 6, "accuracy": None, "diverged": "a loss is no longer a finite number"},
    ]
    summary = {"mean": 0.75, "sd": 0.0, "min": 0.75, "max": 0.75, "diverged": [6],
               "median": {"seed": 5, "accuracy": 0.75}}  # fmt: skip
    result = {**run.info()["result"], "band": rows, "seeds": seeds, "summary": summary}
    rewritten(run, result=result)
    tree = parse(render(gather(run)))
    assert "2 seeds from 5" in tree.all("header")[0].text
    assert "with the weights of seed 5, the median of 2" in tree.all("p", "big")[0].text
    assert tree.id("result").all("table")[1].rows()[1:] == [
        ["5", "0.100000", "0.200000", "0.750000"], ["6", "", "", "diverged"],
    ]  # fmt: skip
    assert len(tree.id("curves").all("polygon")) == 1
    assert "highest 0.750000 diverged seed 6" in tree.id("result").text


def test_many_classes_are_told_by_the_worst(tmp_path: Path) -> None:
    names = tuple(f"kind {k}" for k in range(27))
    data = make_tree(tmp_path / "many", names, train=2, valid=2)
    run = trained("--data", data, "--epochs", "1")
    tree = parse(render(gather(run)))
    confusion = tree.id("confusion")
    assert not confusion.all("table")
    told = run_in_process("eval", run.path, "--json").ok().json["confusion"]
    counts = {(a, p): n for a, row in told.items() for p, n in row.items() if n and a != p}
    shown = [re.fullmatch(r"(.*) called (.*) , (\d) times?", i.text) for i in confusion.all("li")]
    assert len(shown) == min(30, len(counts))
    for found in shown:
        assert found
        assert counts[found[1], found[2]] == int(found[3])
    assert len(tree.id("result").all("table")[0].rows()) == 27 + 2
    assert len(tree.id("samples").all("h3")) == 26
    assert "26 of 27 classes" in tree.id("samples").text


def test_a_model_that_is_always_right_has_no_mistakes(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "300")
    tree = parse(render(gather(run)))
    assert tree.all("strong")[0].text == "1.000000"
    assert "every image is right" in tree.id("mistakes").text
