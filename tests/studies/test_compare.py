"""Two runs on the same images."""

from pathlib import Path

import pytest
import torch

from mnistlab.errors import DataError
from mnistlab.models import ModelCard, build_model
from mnistlab.runs import Run
from mnistlab.storage import save_model
from mnistlab.studies.compare import compare_runs
from tests.conftest import baseline_of, make_tree


def run_of(tree: Path, weight: float = 1.0, classes: tuple[str, ...] = ("dark", "light")) -> Run:
    """A run on `tree` that calls the bright images of two classes the second class if weight < 0.

    Its logit is `weight` times (mean level - ½); above 0 means the first of `classes`.
    """
    run = baseline_of(tree)
    card = ModelCard("linear", classes, (4, 4), {"init": "normal"}, "mnist")
    model = build_model("linear", (4, 4), card.classes)
    torch.nn.init.constant_(model.get_parameter("weights"), weight / 16)
    torch.nn.init.constant_(model.get_parameter("bias"), -weight / 2)
    save_model(run.model_file, model.state_dict(), card)
    return run


def test_each_image_is_counted_once_by_who_got_it_right(tiny: Path) -> None:
    right, wrong = run_of(tiny, -1.0), run_of(tiny, 1.0)
    found = compare_runs(right, wrong).paired
    assert (found.both, found.only_a, found.only_b, found.neither) == (0, 8, 0, 0)
    # a weight of nothing calls everything light
    flat = run_of(tiny, 0.0)
    found = compare_runs(flat, right).paired
    assert (found.both, found.only_a, found.only_b, found.neither) == (4, 0, 4, 0)
    found = compare_runs(flat, wrong).paired
    assert (found.both, found.only_a, found.only_b, found.neither) == (0, 4, 0, 4)


def test_classes_in_another_order_are_the_same_classes(tiny: Path) -> None:
    plain, turned = run_of(tiny, -1.0), run_of(tiny, 1.0, ("light", "dark"))
    assert compare_runs(plain, turned).paired.both == 8


def test_the_first_runs_data_are_used_unless_others_are_named(tiny: Path, tmp_path: Path) -> None:
    more = make_tree(tmp_path / "more", valid=7)
    a, b = run_of(tiny), run_of(more)
    assert compare_runs(a, b).paired.n == 8
    assert compare_runs(b, a).paired.n == 14
    assert compare_runs(a, b, {"data": str(more)}, split="train").paired.n == 24
    assert compare_runs(a, b).notes != []
    assert compare_runs(a, run_of(tiny)).notes == []


def test_settings_that_differ_are_named(tiny: Path, tmp_path: Path) -> None:
    more = make_tree(tmp_path / "more", valid=7)
    found = compare_runs(run_of(tiny), run_of(more))
    assert found.settings == {"data": (str(tiny), str(more))}


def test_runs_of_other_classes_are_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    third = make_tree(tmp_path / "third", ("dark", "light", "zebra"))
    other = baseline_of(third)
    with pytest.raises(DataError, match="knows the classes dark, light, zebra"):
        compare_runs(run_of(tiny), other)
    with pytest.raises(DataError, match="two runs are compared on the same ones"):
        compare_runs(other, run_of(tiny))
