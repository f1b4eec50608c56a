"""The chapter beside ours: the verdicts must be able to fail, and the figures must be complete."""

from pathlib import Path

import pytest
import torch

from mnistlab import reproduction
from mnistlab.book import printed_tables
from mnistlab.data.store import ImageData
from mnistlab.experiment import prepare
from mnistlab.lessons.kit import Check
from mnistlab.report.pictures import Curves
from mnistlab.reproduction import Figure, spread
from mnistlab.resolving import resolve
from mnistlab.runs import Run
from tests.command import run_in_process


def test_a_value_in_the_middle_of_our_seeds_is_inside_with_its_percentile() -> None:
    row = spread("6", "x", (0.5, 0.3), torch.tensor([0.1, 0.4, 0.6, 0.9]))
    assert (row.verdict, row.percentile, row.seeds, row.book) == ("inside", 50.0, 4, 0.3)
    assert (row.low, row.high) == pytest.approx((0.1, 0.9))
    assert row.ours in (pytest.approx(0.4), pytest.approx(0.6))


def test_a_value_of_the_outer_tenth_is_at_the_edge_and_one_outside_differs() -> None:
    ours = torch.arange(101) / 100
    verdicts = [spread("6", "x", (value, 0), ours, 4).verdict for value in (0.04, 0.05, 0.95, 0.96)]
    assert verdicts == ["edge", "inside", "inside", "edge"]
    assert spread("6", "x", (1.01, 0), ours, 4).verdict == "differs"
    # what is printed stands for half a digit either way
    ours = torch.tensor([0.50004, 0.6])
    assert spread("6", "x", (0.5, 0), ours).verdict == "differs"
    assert spread("6", "x", (0.5, 0), ours, 4).verdict == "inside"
    assert spread("6", "x", (0.4999, 0), ours, 4).verdict == "differs"


def test_a_value_that_is_drawn_as_the_notes_drew_it_is_equal() -> None:
    ours = torch.tensor([0.1, 0.2])
    assert spread("6", "x", (0.9, 0), ours, 4, replayed=0.90006).verdict == "equal"
    assert spread("6", "x", (0.9, 0), ours, 4, replayed=0.9002).verdict == "differs"


def test_the_smoothed_train_loss_is_the_chapters() -> None:
    # By hand with three batches: 0.98 of the old, 0.02 of the new, corrected for the start.
    losses = reproduction.smoothed(torch.tensor([[0.5], [0.3], [0.1]]))
    second = (0.98 * (0.02 * 0.5) + 0.02 * 0.3) / (1 - 0.98**2)
    third = (0.98 * (0.98 * (0.02 * 0.5) + 0.02 * 0.3) + 0.02 * 0.1) / (1 - 0.98**3)
    assert losses.flatten().tolist() == pytest.approx([0.5, second, third])


def test_a_mean_of_batch_means_gives_the_small_batch_a_full_share() -> None:
    right = torch.ones(2038, 1)
    right[-246:] = 0
    assert reproduction.mean_of_batch_means(right).item() == pytest.approx(7 / 8)


def test_every_figure_of_the_chapter_is_compared(sample: ImageData) -> None:
    # One figure per printed number of §6, and the checks of every lesson that the sections name.
    steps: list[str] = []
    figures, curves = reproduction.reproduce(sample, 6, steps.append)
    trained = [figure for figure in figures if figure.section == "6 training"]
    assert len(trained) == 2 + 21 + 20 + 20 + 3 * 10 + 3 * 39 + 3
    exact = [figure.verdict for figure in figures if figure.seeds is None]
    assert (exact.count("equal"), exact.count("left out"), len(exact)) == (79, 3, 82)
    # All that the notes trained is theirs to the digit, but for the model from scratch.
    equal = [figure for figure in trained if figure.verdict == "equal"]
    assert len(equal) == 20 + 20 + 3 * 10 + 3 * 39
    (first,) = [figure for figure in figures if figure.item == "random model"]
    assert (first.verdict, first.replayed) == ("equal", 6089 / 12396)
    assert len({figure.section for figure in figures}) == 6
    assert len(curves) == 4
    assert "lesson derivative" in steps


def test_the_command_exits_with_3_if_a_figure_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Figure("6 training", "good", 0.5, 0.5, "inside", 0.4, 0.6, 50.0, 9, "", 0.5, 0.4, 0.6)
    bad = Figure("6 training", "bad", 0.5, torch.tensor([0.7, 0.1]), "differs")
    figures = [good]
    monkeypatch.setattr(reproduction, "reproduce", lambda *_, **__: (figures, []))
    assert "1 inside" in run_in_process("reproduce").ok().out
    figures.append(bad)
    failed = run_in_process("reproduce", "--json")
    assert failed.code == 3
    assert failed.json["counts"]["differs"] == 1
    assert failed.json["figures"][1]["ours"] == pytest.approx([0.7, 0.1])
    assert "1 figure(s) differ" in failed.err


def test_the_residual_net_is_compared_with_as_many_seeds_as_were_trained(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the same path with a model that takes no time
    small = {"model": "linear", "data": str(tiny), "epochs": 1, "batch_size": 5}
    monkeypatch.setattr(reproduction, "RESIDUAL_SETTINGS", small)
    steps: list[str] = []
    rows = reproduction.residual_figures(range(3), steps.append)
    assert steps == [f"resnet18, seed {seed} of 3" for seed in range(3)]
    assert [(row.chapter, row.book) for row in rows] == [
        table[0] for table in printed_tables()["resnet18"].values()
    ]
    runs = [prepare(resolve({**small, "seed": seed})).train() for seed in range(3)]
    accuracies = sorted(metrics.accuracy for run in runs for metrics in run)
    assert (rows[2].low, rows[2].ours, rows[2].high) == pytest.approx(tuple(accuracies))


def test_the_plot_is_drawn_and_a_bad_name_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    curve = Curves("c", {"a": ([0, 1], [0, 1])}, bands={"b": ([0, 1], [0, 0], [1, 2])})
    monkeypatch.setattr(reproduction, "reproduce", lambda *_, **__: ([], [curve] * 4))
    run_in_process("reproduce", "--plot", tmp_path / "c.png").ok()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(reproduction, "reproduce", lambda *_, **__: pytest.fail("worked"))
    refused = run_in_process("reproduce", "--plot", "c.gif")
    assert refused.code == 2
    assert ".png" in refused.err


def test_checks_of_lessons_become_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [
        Check("a", 1, 1, True),
        Check("b", 1, 2, False),
        Check("c", 1, 1, True, source="a loop"),  # not a figure of the chapter
    ]
    monkeypatch.setattr(reproduction, "run_lesson", lambda name: iter(items))
    rows = reproduction.exact_figures("3 derivatives", "derivative")
    assert [(row.item, row.verdict) for row in rows] == [
        ("derivative: a", "equal"),
        ("derivative: b", "differs"),
    ]


def test_twenty_seeds_of_book_linear_end_within_the_chapters_range() -> None:
    run = run_in_process("train", "--config", "book-linear", "--seeds", "20", "--json").ok().json
    assert 0.977 <= run["summary"]["min"] <= run["summary"]["max"] <= 0.980
    first = run["band"][0]
    assert 0.4956 - 0.02 <= first["min"] <= first["max"] <= 0.4956 + 0.02


def test_book_two_layer_ends_within_the_chapters_range(book_two_layer: Run) -> None:
    result = book_two_layer.record().result
    assert result is not None
    assert 0.981 <= (result.accuracy or 0) <= 0.984
