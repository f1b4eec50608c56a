"""The report: its structure, and that every figure, curve and image in it is the run's."""

import csv
import io
import itertools
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnistlab.data.store import ImageData
from mnistlab.errors import DataError
from mnistlab.report.page import Report, chart, open_report, png, render, tiles
from mnistlab.report.pictures import Curves, Images
from mnistlab.runs import Run
from tests import needs
from tests.command import Result, run_in_process
from tests.conftest import make_tree
from tests.report.markup import Node, image_of, parse

Mnistlab = Callable[..., Result]
NAN = float("nan")


@pytest.fixture(scope="session")
def page(digits_page: str) -> Node:
    return parse(digits_page)


def trained(*arguments: str | Path) -> Run:
    run_in_process("train", "-q", *arguments).ok()
    return Run(max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime_ns))


def page_of(run: Run, **options: Any) -> Node:
    return parse(render(open_report(run, **options)))


def rewritten(run: Run, **changes: Any) -> None:
    content = json.loads(run.record_file.read_bytes())
    content["result"] |= changes.pop("result", {})
    run.record_file.write_text(json.dumps({**content, **changes}))


def percent(share: float) -> str:
    """As the page has it where an accuracy is known to within half a point or so."""
    return f"{100 * share:.1f} %"


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
    assert all(section.all("h2") for section in page.all("section"))
    assert [len(page.all(tag)) for tag in ("header", "main", "footer", "nav")] == [1, 1, 1, 1]


def test_every_table_and_image_can_be_read_aloud(page: Node) -> None:
    assert len(page.all("table")) >= 5
    for table in page.all("table"):
        assert table.all("caption")[0].text
        assert all(cell.attributes["scope"] in ("col", "row") for cell in table.all("th"))
        assert len({len(row) for row in table.rows()}) == 1
    assert all(len(image.attributes["alt"]) > 5 for image in page.all("img"))
    names = [(svg.attributes["role"], svg.attributes["aria-label"]) for svg in page.all("svg")]
    assert names == [("img", "Loss by epoch"), ("img", "Accuracy by epoch")]


def test_nothing_in_the_page_leads_outside(page: Node, digits_page: str) -> None:
    tags = {node.tag for node in page.walk()}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base", "video"}
    for node in page.walk():
        assert not [name for name in node.attributes if name.startswith("on")]
        assert node.attributes.get("src", "data:image/png;").startswith("data:image/png;")
        assert node.attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|https?:", digits_page)
    [policy] = [m for m in page.all("meta") if "http-equiv" in m.attributes]
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:; ")


def test_the_same_run_gives_the_same_bytes(digits: Report, digits_page: str) -> None:
    assert render(digits) == digits_page
    assert len(digits_page.encode()) < 100_000


def test_no_absolute_path_of_the_machine_is_in_the_page(tiny: Path) -> None:
    folder = tiny.parent / "all runs"
    mixed = tiny.parent / "my.toml"
    mixed.write_text('optimizer = "momentum"\n')
    shutil.move(trained("--data", tiny, "--epochs", "2", "--config", mixed).path, folder / "one")
    run = Run(folder / "one")
    for _ in range(2):  # with the data, and with a message that it is gone
        page = render(open_report(run))
        assert str(tiny.parent) not in page
        assert "mnistlab train -q --data tiny --epochs 2 --config my.toml" in parse(page).text
        assert "config my.toml" in parse(page).text
        shutil.rmtree(tiny, ignore_errors=True)
    assert "tiny: no such folder" in page


def test_a_file_name_is_never_broken_in_the_middle(digits_page: str) -> None:
    names = re.findall(r"<span>(\d/[^ ]*?png)</span>", digits_page)
    assert len(names) == 24
    assert all(re.fullmatch(r"\d/<wbr>\d+\.png", name) for name in names)


# figures


def test_the_figures_are_those_of_eval(page: Node, digits: Report) -> None:
    scores = run_in_process("eval", digits.run.path, "--json").ok().json
    result = page.id("result")
    # ± 0.6 points: one digit behind the point is all that is known
    assert result.all("strong")[0].text == percent(scores["accuracy"])
    low, high = scores["interval"]
    names = [node.text for node in result.all("dt")]
    assert dict(zip(names, [node.text for node in result.all("dd")], strict=True)) == {
        "right": f"{scores['correct']:,} of 2,038",
        "wrong": str(2038 - scores["correct"]),
        "95 % interval (Wilson)": f"{100 * low:.1f} to {percent(high)}",
        "balanced accuracy": percent(scores["balanced_accuracy"]),
        "loss": f"{scores['loss']:.3g}",
    }
    head, *rows = result.all("table")[0].rows()
    assert head == ["class", "images", "recall", "precision", "F1"]
    assert rows == [
        [name, count, *(percent(scores[key][name]) for key in ("recall", "precision", "f1"))]
        for name, count in (("3", "1,010"), ("7", "1,028"))
    ] + [["mean", "", percent(scores["balanced_accuracy"]), "", percent(scores["macro_f1"])]]
    assert page.id("confusion").all("table")[0].rows() == [
        ["actual \\ predicted", "3", "7"],
        *([name, *(f"{n:,}" for n in row.values())] for name, row in scores["confusion"].items()),
    ]


def test_the_epochs_are_those_of_the_metrics_file(page: Node, digits: Report) -> None:
    with (digits.run.path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(range(4), key=lambda epoch: float(rows[epoch]["accuracy"]))
    assert page.id("curves").all("table")[0].rows()[1:] == [
        [
            row["epoch"] + (" (best)" if place == best else ""),
            *(f"{float(row[key]):.3g}" for key in ("train_loss", "valid_loss")),
            percent(float(row["accuracy"])),
        ]
        for place, row in enumerate(rows)
    ]


def test_settings_data_environment_and_how_to_repeat_are_the_run_s(
    page: Node, digits: Report
) -> None:
    record = digits.run.record()
    assert record.result is not None
    settings = {row[0]: row[1:] for row in page.id("settings").all("table")[0].rows()[1:]}
    assert settings["epochs"] == ["4", "--epochs"]
    assert settings["lr"] == ["1.0", "default of linear"]
    assert settings["shuffle"] == ["true", "default"]
    assert "hidden" not in settings  # the linear model has none
    environment = page.id("settings").all("dl")[0].text
    assert all(str(value) in environment for value in record.environment.values())
    assert page.id("data").all("table")[0].rows()[1:] == [
        ["3", "6,131", "1,010"], ["7", "6,265", "1,028"], ["all", "12,396", "2,038"],
    ]  # fmt: skip
    assert record.data.fingerprint in page.id("data").text
    repeat, path = page.id("repeat"), digits.run.path
    name = f"{path.parent.name}/{path.name}"
    assert [code.text for code in repeat.all("code")] == [
        f"mnistlab train --epochs 4 --run-dir {path.parent.name} -q",
        f"mnistlab train --config {name}/config.toml",
        f"mnistlab runs verify {name}",
        f"mnistlab eval {name}",
    ]
    assert str(record.result.weights_sha256) in repeat.text


# curves


CURVES = Curves(
    "Loss <of> both",
    {"ours": (range(5), [0.067, 0.034, 0.0287, 0.026, 0.0241]), "theirs": ([0, 4], [0.05, 0.02])},
    "epoch",
    "mean",
    dots={"best": ([4], [0.0241])},
    bands={"all": ([0, 4], [0.02, 0.01], [0.07, 0.03])},
)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in path.split())]


def test_every_point_of_a_chart_lies_where_the_ticks_say() -> None:
    shapes = chart(CURVES)

    def value(ticks: list[tuple[str, str]], place: float) -> float:
        """The value at `place`, from the labels of the outermost ticks alone."""
        (first, low), (last, high) = ([float(part) for part in ticks[end]] for end in (0, -1))
        return low + (place - first) / (last - first) * (high - low)

    def values(path: str) -> list[tuple[float, float]]:
        x_ticks, y_ticks = shapes["x_ticks"], shapes["y_ticks"]
        return [(value(x_ticks, x), value(y_ticks, y)) for x, y in points(path)]

    for (_, _, [path]), (xs, ys) in zip(shapes["lines"], CURVES.lines.values(), strict=True):
        for place, expected in zip(values(path), zip(xs, ys, strict=True), strict=True):
            assert place == pytest.approx(expected, abs=0.001)
    [band] = map(values, shapes["bands"])
    for place, expected in zip(band, [(0, 0.02), (4, 0.01), (4, 0.03), (0, 0.07)], strict=True):
        assert place == pytest.approx(expected, abs=0.001)
    [(x, y, text)] = shapes["dots"]
    assert values(f"{x},{y}") == [pytest.approx((4, 0.0241), abs=0.001)]
    assert text == "best: 0.0241, epoch 4"
    assert [label for _, label in shapes["x_ticks"]] == ["0", "1", "2", "3", "4"]


def test_a_chart_of_many_lines_names_the_first_and_draws_the_others_below_them() -> None:
    lines = {f"run {n}": ([0.0, 1.0], [0.5, 0.5 + n / 10]) for n in range(6)}
    shapes = chart(Curves("t", lines))
    assert shapes["legend"] == [*((f"k{n}", f"run {n}") for n in range(4)), ("rest", "2 more")]
    kinds = [(kind, name) for kind, name, _ in shapes["lines"]]
    assert kinds == [("rest", "run 4"), ("rest", "run 5"), *shapes["legend"][:4]]


def test_a_line_breaks_where_there_is_no_number_and_lies_flat_in_the_middle() -> None:
    broken = chart(Curves("t", {"a": (range(7), [3.0, 2.0, NAN, 1.0, math.inf, 1.5, 1.0])}))
    [(_, _, paths)] = broken["lines"]
    assert [len(points(path)) for path in paths] == [2, 1, 2]
    nothing = chart(Curves("t", {"a": ([0, 1], [NAN, NAN])}))
    assert nothing["lines"] == [("k0", "a", [])]
    [(_, _, [path])] = chart(Curves("t", {"a": ([0, 1], [2.0, 2.0])}))["lines"]
    assert {y for _, y in points(path)} == {(10 + 240 - 40) / 2}


# images


def test_the_mistakes_and_samples_are_the_dataset_s_own_files(
    page: Node, sample: ImageData
) -> None:
    mistakes = [image.attributes["alt"] for image in page.id("mistakes").all("img")]
    assert len(mistakes) == 24
    sure = []
    for alt in mistakes:
        match = re.fullmatch(r"(.) taken for (.), probability ([\d.]+), valid/(.)/\d+\.png", alt)
        assert match, alt
        assert match[1] == match[4] != match[2]
        sure.append(float(match[3]))
    assert sure == sorted(sure, reverse=True)
    assert sure[-1] > 0.5
    samples = [image.attributes["alt"] for image in page.id("samples").all("img")]
    assert [title.text for title in page.id("samples").all("h3")] == ["3", "7"]
    assert len(set(samples)) == 16
    assert all(re.fullmatch(r"(.), valid/\1/\d+\.png", alt) for alt in samples)
    for image in page.id("mistakes").all("img") + page.id("samples").all("img"):
        with Image.open(sample.root / image.attributes["alt"].split(", ")[-1]) as original:
            assert np.array_equal(np.asarray(original), np.asarray(image_of(image)))


def test_the_weights_are_the_model_s(page: Node, digits: Report) -> None:
    [image] = page.id("weights").all("img")
    weights = digits.model.state_dict()["weights"].numpy().reshape(28, 28)
    scaled = np.round((weights / np.abs(weights).max() + 1) / 2 * 255)
    with image_of(image) as drawn:
        assert drawn.mode == "P"
        assert np.abs(np.asarray(drawn) - scaled).max() <= 1  # half a level of rounding
    largest = f"{np.abs(weights).max():.2g}"
    assert [span.text for span in page.all("p", "key")[0].all("span")] == ["-" + largest, largest]


def test_every_level_of_a_png_is_the_image_s_own_and_zero_has_the_colour_of_the_page() -> None:
    with Image.open(io.BytesIO(png(torch.arange(256).reshape(8, 32) / 255))) as grey:
        assert list(grey.tobytes()) == list(range(256))
    with Image.open(io.BytesIO(png(torch.tensor([[0.0, 0.5, 1.0]]), signed=True))) as signed:
        minus, zero, plus = (signed.convert("RGBA").getpixel((x, 0)) for x in range(3))
    assert (minus, plus) == ((33, 102, 172, 255), (178, 24, 43, 255))
    assert zero[3] <= 1  # type: ignore[index]


def test_large_images_stay_within_the_page() -> None:
    noise = torch.randint(0, 256, (60, 200, 300), dtype=torch.uint8)
    made = tiles(Images("", {str(k): image for k, image in enumerate(noise)}))
    assert sum(len(tile["uri"]) for tile in made) < 1.5 * 240_000
    assert {(tile["height"], tile["width"]) for tile in made} == {(42, 63)}
    [tile] = tiles(Images("", {"x": noise[0]}))
    assert (tile["height"], tile["width"]) == (200, 300)


# what is odd


@needs.any_name
def test_names_from_folders_and_paths_are_text_and_nothing_else(tmp_path: Path) -> None:
    # no slash can stand in a name, so the tag is closed by the browser or not at all
    names = ("<script>alert(1)<!--", "\"><img src=x onerror='a'>&amp;", "{{ 7*7 }}{% raw %}")
    data = make_tree(tmp_path / "<b>&data\u202e", names, train=6, valid=3)
    tree = page_of(trained("--data", data, "--epochs", "2"))
    assert not tree.all("script")
    assert tree.all("h1")[0].text == "linear on <b>&data\\u202e"  # turned round by nothing
    head = tree.id("confusion").all("table")[0].rows()[0]
    assert set(head[1:]) == set(names)
    assert all(i.attributes["src"].startswith("data:image/png") for i in tree.all("img"))
    assert [m.tag for m in tree.id("data").walk() if m.tag in ("img", "b")] == []


def test_without_its_data_the_page_has_what_the_run_folder_has(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "5")
    complete = page_of(run)
    with pytest.raises(DataError, match="split vlaid: unknown; did you mean valid"):
        open_report(run, split="vlaid")
    shutil.rmtree(tiny)
    assert f"{tiny}: no such folder" in open_report(run).missing["data"]
    tree = page_of(run)
    assert "tiny: no such folder" in tree.all("p", "note")[0].text
    ids = {node.attributes.get("id") for node in tree.walk()}
    assert not ids & {"confusion", "mistakes", "samples"}
    assert ids >= {"result", "curves", "weights", "data", "settings", "repeat"}
    assert tree.all("strong")[0].text == complete.all("strong")[0].text
    # the interval needs the counts only, the loss is that of the last epoch
    figures = [node.text for node in complete.id("result").all("dd")]
    assert [node.text for node in tree.id("result").all("dd")] == figures[:3] + figures[4:]
    with pytest.raises(DataError, match="no such folder"):
        open_report(run, {"data": str(tiny)})


def test_what_makes_the_figures_doubtful_is_said_above_them(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "3")

    def notes() -> str:
        return " ".join(note.text for note in page_of(run).all("p", "note"))

    assert notes() == ""
    Image.new("L", (4, 4), 9).save(tiny / "valid/light/0.png")
    assert "images of valid have changed since the training" in notes()
    rewritten(run, status="stopped", mixed=True)
    assert "Its status: stopped." in notes()
    assert "last bits cannot be repeated" in notes()
    assert "the model is another one" not in notes()
    own = run.model_file.read_bytes()
    shutil.copyfile(trained("--data", tiny, "--epochs", "2").model_file, run.model_file)
    assert "or the model is another one" in notes()
    run.model_file.write_bytes(own)
    rewritten(run, result={"accuracy": 0.123})
    assert "it was edited, or the model is another one" in notes()


def test_the_best_weights_and_another_split_are_named(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "6")
    tree = page_of(run, best=True, split="train")
    result = run.record().result
    assert result is not None
    assert result.best is not None
    text = tree.all("p", "big")[0].text
    assert "on the train images" in text
    assert f"with the best weights (epoch {result.best.epoch})" in text
    assert "of 24" in tree.id("result").text
    assert [c.text for c in tree.all("code")][-1] == f"mnistlab eval {run.name} --best"
    assert all("train/" in i.attributes["alt"] for i in tree.id("samples").all("img"))


def test_a_baseline_has_mean_images_and_no_curves(tiny: Path, mnistlab: Mnistlab) -> None:
    mnistlab("baseline", "pixel-similarity", "--data", tiny, "-q").ok()
    run = Run(next(Path("runs").iterdir()))
    tree = page_of(run)
    assert "curves" not in {node.attributes.get("id") for node in tree.walk()}
    assert [i.attributes["alt"] for i in tree.id("weights").all("img")] == ["dark", "light"]
    assert [c.text for c in tree.all("code")] == [
        "mnistlab baseline pixel-similarity --data tiny -q",
        f"mnistlab runs verify {run.name}",
        f"mnistlab eval {run.name}",
    ]
    mean = np.mean([np.asarray(Image.open(f)) for f in (tiny / "train/dark").iterdir()], axis=0)
    drawn = np.asarray(image_of(tree.id("weights").all("img")[0]))
    assert np.abs(drawn - mean).max() <= 0.51


def test_several_seeds_are_a_band_and_a_range(tiny: Path) -> None:
    run = trained("--data", tiny, "--epochs", "3", "--seeds", "2", "--seed", "5")
    summary = (run.record().result or pytest.fail("no result")).summary or {}
    tree = page_of(run)
    assert "2 seeds from 5" in tree.all("header")[0].text
    median = f"with the weights of seed {summary['median']['seed']}, the median of 2"
    assert median in tree.all("p", "big")[0].text
    assert [len(chart.all("polygon")) for chart in tree.all("svg")] == [0, 1]
    assert "median seed" in tree.id("curves").text
    figures = tree.id("result").all("dl")[1]
    assert [node.text for node in figures.all("dt")][2:] == ["lowest", "highest"]
    low, high = (node.text for node in figures.all("dd")[2:])
    assert float(low.split()[0]) == pytest.approx(100 * summary["min"], abs=0.5)
    assert float(high.split()[0]) == pytest.approx(100 * summary["max"], abs=0.5)


def test_of_more_classes_than_a_matrix_can_hold_the_worst_pairs_are_named(tmp_path: Path) -> None:
    names = tuple(f"kind {k}" for k in range(27))
    data = make_tree(tmp_path / "data", names, train=2, valid=2)
    run = trained("--data", data, "--epochs", "1")
    tree = page_of(run)
    confusion = tree.id("confusion")
    assert not confusion.all("table")
    matrix = run_in_process("eval", run.path, "--json").ok().json["confusion"]
    counts = {(a, p): n for a, row in matrix.items() for p, n in row.items() if n and a != p}
    items = [
        re.fullmatch(r"(.*) taken for (.*) , (\d) times?", item.text)
        for item in confusion.all("li")
    ]
    assert len(items) == min(30, len(counts))
    for match in items:
        assert match
        assert counts[match[1], match[2]] == int(match[3])
    assert len(tree.id("result").all("table")[0].rows()) == 27 + 2
    assert len(tree.id("samples").all("h3")) == 26
    assert "26 of 27 classes" in tree.id("samples").text


def test_a_model_that_is_always_right_has_no_mistakes(tiny: Path) -> None:
    tree = page_of(trained("--data", tiny, "--epochs", "300"))
    assert tree.all("strong")[0].text == "100 %"
    assert "every image is right" in tree.id("mistakes").text
