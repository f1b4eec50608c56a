"""The chapter beside ours: the verdicts must be able to fail, and the figures must be complete."""

from pathlib import Path

import pytest
import torch

from mnistlab import book, reproduction
from mnistlab.config import resolve
from mnistlab.data.folders import ImageData
from mnistlab.experiment import prepare
from mnistlab.figures import Figure, Track, spread
from mnistlab.lessons.kit import Check
from mnistlab.reproduction import Reproduction
from mnistlab.studies.seeds import ManyMetrics, StackedLinear, train_many
from tests.command import run_in_process


def test_a_value_inside_the_range_of_our_seeds_is_inside_with_its_percentile() -> None:
    found = spread("6", "x", 0.5, torch.tensor([0.1, 0.4, 0.6, 0.9]))
    assert (found.verdict, found.percentile, found.seeds) == ("inside", 50.0, 4)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.9)
    assert found.ours == pytest.approx(0.4)  # torch's median: the lower of the middle two


def test_a_value_outside_differs_and_rounding_gives_half_a_digit() -> None:
    ours = torch.tensor([0.50004, 0.6])
    assert spread("6", "x", 0.5, ours).verdict == "differs"
    assert spread("6", "x", 0.5, ours, digits=4).verdict == "inside"
    assert spread("6", "x", 0.4999, ours, digits=4).verdict == "differs"
    assert spread("6", "x", 0.7, ours, digits=4).verdict == "differs"


def test_an_unexplained_difference_fails_and_an_explained_one_does_not() -> None:
    bad = Figure("6", "x", 1.0, 2.0, "differs")
    told = Figure("6", "x", 1.0, 2.0, "differs", reason="because")
    good = Figure("6", "x", 1.0, 1.0, "equal")
    assert not Reproduction([good, bad]).holds
    assert Reproduction([good, told]).holds


def test_the_smoothed_train_loss_is_the_chapters(sample: ImageData) -> None:
    # By hand with three batches in two epochs: 0.98 of the old, 0.02 of the new, corrected.
    track = Track(sample, 1)
    logits = torch.zeros(2038, 1)
    track.add(ManyMetrics(0, torch.tensor([[0.5], [0.3]]), logits))
    track.add(ManyMetrics(1, torch.tensor([[0.1]]), logits))
    first = (0.98 * (0.02 * 0.5) + 0.02 * 0.3) / (1 - 0.98**2)
    second = (0.98 * (0.98 * (0.02 * 0.5) + 0.02 * 0.3) + 0.02 * 0.1) / (1 - 0.98**3)
    assert [float(v) for v in track.train_losses] == pytest.approx([first, second])


def test_a_mean_of_batch_means_is_not_the_accuracy(sample: ImageData) -> None:
    # All of the last batch of 246 wrong: it weighs 1/8, not 246/2038.
    track = Track(sample, 1)
    logits = torch.where(sample.valid_ds.tensors[1] == 0, 1.0, -1.0).unsqueeze(1)
    logits[-246:] *= -1
    track.add(ManyMetrics(0, torch.zeros(1, 1), logits))
    assert float(track.batch_means[0]) == pytest.approx(7 / 8)
    assert float(track.accuracies[0]) == pytest.approx(1 - 246 / 2038)


def test_the_whole_chapter_is_compared(sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    # One figure per printed number of §6, and the checks of every lesson that the sections name.
    lines: list[str] = []
    found = reproduction.reproduce(sample, seeds=6, progress=lines.append)
    trained = [figure for figure in found.figures if figure.section == "6 training"]
    assert len(trained) == 2 + 21 + 20 + 20 + 3 * 10 + 3 * 39 + 3
    assert {figure.section for figure in found.figures} == {
        "1 data", "2 pixel similarity", "3 derivatives", "4 small problems", "5 loss", "6 training",
    }  # fmt: skip
    exact = [figure for figure in found.figures if figure.seeds is None]
    assert {figure.verdict for figure in exact} == {"equal", "left out"}
    assert len(exact) >= 75
    assert len(found.curves) == 4
    # Six seeds make a narrow range; most of the chapter still lies inside it.
    inside = [figure for figure in found.figures if figure.verdict == "inside"]
    assert len(inside) > 0.6 * len(trained)


def test_the_library_sgd_equals_basic_optim_to_the_bit(sample: ImageData) -> None:
    models = reproduction._linear_models(sample, range(3), "uniform")
    ends = []
    for make in (reproduction._basic(1.0), reproduction._library(1.0)):
        stack = StackedLinear(models)
        *_, last = train_many(stack, make, sample.train_ds, sample.valid_ds, epochs=1)
        ends.append(last.valid_logits)
    assert torch.equal(*ends)


def test_every_printed_epoch_is_in_the_tables() -> None:
    assert len(book.SCRATCH) == 21
    assert len(book.BASIC_OPTIM) == len(book.LIBRARY_SGD) == 20
    assert list(book.LINEAR_TABLE) == list(range(10))
    assert list(book.TWO_LAYER_TABLE) == [e for e in range(40) if e != 21]


def fake(*figures: Figure) -> Reproduction:
    return Reproduction(list(figures))


def test_the_command_exits_with_3_if_a_figure_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Figure("6 training", "good", 0.5, 0.5, "inside", 0.4, 0.6, 50.0, 9)
    bad = Figure("6 training", "bad", 0.5, torch.tensor([0.7, 0.1]), "differs")
    monkeypatch.setattr(reproduction, "reproduce", lambda *_, **__: fake(good))
    held = run_in_process("reproduce").ok()
    assert "1 inside" in held.out
    monkeypatch.setattr(reproduction, "reproduce", lambda *_, **__: fake(good, bad))
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
    monkeypatch.setattr(reproduction, "_RESIDUAL", small)
    told: list[str] = []
    rows = reproduction.residual_figures(range(3), told.append)
    assert told == [f"resnet18, seed {seed} of 3" for seed in range(3)]
    assert [row.chapter for row in rows] == list(book.RESNET)
    trained = [
        metrics
        for seed in range(3)
        for metrics in prepare(resolve({**small, "seed": seed})).train()
    ]
    accuracies = sorted(row.accuracy for row in trained)
    assert (rows[2].low, rows[2].ours, rows[2].high) == pytest.approx(tuple(accuracies))
    # the chapter's train_loss, as it defines it: a running mean of weight 0.98, corrected
    running = 0.0
    for count, loss in enumerate(trained[0].batch_losses.tolist(), 1):
        running = 0.98 * running + 0.02 * loss
        corrected = running / (1 - 0.98**count)
    assert min(abs(corrected - value) for value in (rows[0].low, rows[0].ours, rows[0].high)
               if value is not None) < 1e-6  # fmt: skip


def test_the_plot_is_drawn_and_a_bad_name_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mnistlab.report.pictures import Curves

    curve = Curves("c", {"a": ([0, 1], [0, 1])}, bands={"b": ([0, 1], [0, 0], [1, 2])})
    monkeypatch.setattr(reproduction, "reproduce", lambda *_, **__: Reproduction([], [curve] * 4))
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
