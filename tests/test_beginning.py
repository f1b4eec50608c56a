"""`train --from RUN`: the first weights of a run are those of another."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mnistlab import load_model, load_tensors, train_run, weights_sha256
from mnistlab.config import PIN
from mnistlab.errors import ConfigError
from mnistlab.experiment import prepare, start
from mnistlab.resolving import resolve
from mnistlab.runs import Run
from tests.command import Result
from tests.conftest import make_tree
from tests.drawn import HELD_OUT_FONTS, TUNING_FONTS, draw

Mnistlab = Callable[..., Result]


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return load_model(run.model_file)[0].state_dict()


@pytest.fixture
def source(tiny: Path) -> Run:
    """A two-layer run on `dark` and `light`."""
    return train_run({"data": str(tiny), "model": "two-layer", "hidden": 7, "epochs": 2})


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Images of the same size, of other classes."""
    return make_tree(tmp_path / "others", ("a", "b", "c"))


def test_the_same_classes_begin_with_all_weights(
    mnistlab: Mnistlab, tiny: Path, source: Run
) -> None:
    begun = prepare(resolve({"data": str(tiny), "from_run": source.name}))
    assert begun.config.model == "two-layer"
    assert begun.config.hidden == 7
    assert begun.origins["hidden"] == "that of the run to begin with"
    sha = weights_sha256(weights_of(source))
    assert weights_sha256(begun.now.model.state_dict()) == sha
    assert begun.config.from_run == f"{source.path.absolute()}{PIN}{sha}"
    told = mnistlab("train", "--data", tiny, "--from", source.name, "--epochs", "1").ok()
    assert f"from    {source.path.absolute()}: all weights\n" in told.err


def test_other_classes_draw_the_last_layer_anew(
    mnistlab: Mnistlab, source: Run, others: Path
) -> None:
    begun = prepare(resolve({"data": str(others), "from_run": source.name}))
    first, theirs = begun.now.model.state_dict(), weights_of(source)
    drawn = begun.card.build(0).state_dict()
    for name in ("hidden.weight", "hidden.bias"):
        assert first[name].equal(theirs[name])
    for name in ("out.weight", "out.bias"):
        assert first[name].equal(drawn[name])
    told = mnistlab("train", "--data", others, "--from", "latest", "--epochs", "1").ok()
    assert ": all weights but those of its last layer (out): other classes" in told.err
    # as many classes, and other ones: not a weight of the last layer means the same
    two = make_tree(Path("two"), ("light", "paper"))
    first = prepare(resolve({"data": str(two), "from_run": source.name})).now.model.state_dict()
    assert first["hidden.weight"].equal(theirs["hidden.weight"])
    assert not first["out.weight"].equal(theirs["out.weight"])


def test_the_config_names_the_weights_and_repeats_the_run_to_the_bit(
    mnistlab: Mnistlab, source: Run, others: Path
) -> None:
    words = ("train", "--data", others, "--from", source.name, "--epochs", "2", "--json")
    begun = mnistlab(*words).ok().json
    config = Path(begun["run"]) / "config.toml"
    assert f'from_run = "{source.path.absolute()}{PIN}' in config.read_text()
    again = mnistlab("train", "--config", config, "--json").ok().json
    assert again["weights_sha256"] == begun["weights_sha256"]
    without = mnistlab("train", *words[1:3], "--model", "two-layer", "--hidden", "7", "--json")
    assert without.json["weights_sha256"] != begun["weights_sha256"]
    assert mnistlab("runs", "verify", begun["run"], "--json").ok().json["repeats"] is True


def test_verify_and_the_config_refuse_a_source_that_is_gone_or_another(
    mnistlab: Mnistlab, tiny: Path, source: Run, others: Path
) -> None:
    run = train_run({"data": str(others), "from_run": str(source.path), "epochs": 1})
    other = train_run({"data": str(tiny), "model": "two-layer", "hidden": 7, "epochs": 3})
    source.path.rename("away")
    for words in (("runs", "verify", run.name), ("train", "--config", run.config_file)):
        refused = mnistlab(*words)
        assert refused.code == 2
        assert f"--from {source.path.absolute()}: no such run" in refused.err
    shutil.copytree(other.path, source.path)
    for words in (("runs", "verify", run.name), ("train", "--config", run.config_file)):
        refused = mnistlab(*words)
        assert refused.code == 2
        assert f"{source.path.absolute()}: has other weights than those to begin" in refused.err
    refused = mnistlab("eject", run.name)
    assert refused.code == 2
    assert "from-run" in refused.err


def test_a_stopped_run_needs_its_source_no_more(
    mnistlab: Mnistlab, source: Run, others: Path
) -> None:
    settings = {"data": str(others), "from_run": source.name, "epochs": 4}
    unbroken = prepare(resolve(settings))
    list(unbroken.train())
    experiment = start(prepare(resolve(settings)), Path("runs"), [])
    place = experiment.now.place
    list(experiment.train(lambda: place.epoch == 2))
    assert experiment.run is not None
    early = start(prepare(resolve(settings)), Path("early"), [])
    assert early.run is not None
    mnistlab("train", "--resume", early.run.path).ok()  # before its first save: begins again
    source.path.rename("away")
    mnistlab("train", "--resume", experiment.run.name).ok()
    expected = weights_sha256(unbroken.now.model.state_dict())
    assert weights_sha256(weights_of(experiment.run)) == expected
    assert weights_sha256(weights_of(early.run)) == expected


def test_several_seeds_begin_alike_each_as_it_would_alone(
    mnistlab: Mnistlab, tiny: Path, source: Run
) -> None:
    words = ["train", "--data", str(tiny), "--from", source.name, "--epochs", "1"]
    words += ["--batch-size", "5", "--json"]
    study = mnistlab(*words, "--seeds", "2", "--seed", "5").ok().json
    mnistlab("runs", "verify", "latest").ok()
    alone = [mnistlab(*words, "--seed", seed).ok().json["weights_sha256"] for seed in ("5", "6")]
    result = Run(Path(study["run"])).record().result
    assert result is not None
    assert [row.weights_sha256 for row in result.seeds or []] == alone
    assert alone[0] != alone[1]
    for flags in (["--no-shuffle"], ["--order-seed", "1"]):
        refused = mnistlab(*words, "--seeds", "2", *flags)
        assert refused.code == 2
        assert "with --from they begin alike; each needs an order of its own" in refused.err
    # linear ones, which share an order without --from
    linear = train_run({"data": str(tiny), "epochs": 2})
    two = mnistlab("train", "--data", tiny, "--from", linear.path, "--seeds", "2", "--json").ok()
    assert two.json["summary"]["n"] == 2
    assert 'order_seed = "own"' in (Path(two.json["run"]) / "config.toml").read_text()


def test_one_line_of_a_batch_job_begins_and_goes_on(
    mnistlab: Mnistlab, source: Run, others: Path
) -> None:
    words = ("train", "--data", others, "--from", source.path, "--run-dir", "jobs")
    for _ in range(2):
        mnistlab(*words, "--resume", "latest", "--or-start", "--epochs", "1").ok()
    assert len(list(Path("jobs").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--model", "linear"], "--model linear: --from {source} has two-layer"),
        (["--hidden", "8"], "--hidden 8: --from {source} has 7"),
        (["--model", "pixel-similarity"], "from: pixel-similarity is fitted, not trained"),
        (
            ["--image-size", "5x6"],
            "--from {source}: its two-layer takes images of 4 x 4, and these are 6 x 5; bring them "
            "to that with --image-size 4x4",
        ),
    ],
)
def test_what_contradicts_the_source_is_refused(
    mnistlab: Mnistlab, tiny: Path, source: Run, words: list[str], why: str
) -> None:
    refused = mnistlab("train", "--data", tiny, "--from", source.name, *words)
    assert refused.code == 2
    assert why.format(source=source.path.absolute()) in refused.err
    assert len(list(Path("runs").iterdir())) == 1


def test_other_sources_that_cannot_be(
    mnistlab: Mnistlab, tiny: Path, others: Path, source: Run
) -> None:
    refused = mnistlab("train", "--from", "lastest")
    assert refused.code == 2
    assert "--from lastest: no such run in runs; did you mean latest?" in refused.err
    linear = train_run({"data": str(tiny), "epochs": 1})
    with pytest.raises(ConfigError, match="of a linear model's only layer nothing is left"):
        prepare(resolve({"data": str(others), "from_run": linear.name}))
    linear.model_file.unlink()
    with pytest.raises(ConfigError, match="no such run, or it has saved no model"):
        prepare(resolve({"data": str(tiny), "from_run": linear.name}))


def test_a_net_that_takes_any_size_begins_with_images_of_another(tmp_path: Path) -> None:
    small = make_tree(tmp_path / "small", size=(20, 20), train=3, valid=1)
    large = make_tree(tmp_path / "large", size=(24, 24), train=3, valid=1)
    source = train_run({"data": str(small), "model": "resnet18", "epochs": 1})
    begun = prepare(resolve({"data": str(large), "from_run": source.name}))
    assert weights_sha256(begun.now.model.state_dict()) == weights_sha256(weights_of(source))


def glyphs(classes: str, tools: Sequence[str], times: int) -> tuple[torch.Tensor, list[int]]:
    """Each class in each font, `times` over, as noisy images (n, 28, 28), and their labels."""
    drawn = [
        draw(name, tool, "28", dark=False, effect="noise", seed=seed).image.convert("L")
        for name in classes
        for tool in tools
        for seed in range(times)
    ]
    labels = [label for label in range(len(classes)) for _ in range(len(tools) * times)]
    return torch.from_numpy(np.stack([np.asarray(image) for image in drawn])), labels


def test_ten_images_a_class_are_learned_better_with_what_others_taught() -> None:
    """A net that has seen letters learns digits: new ones, in fonts that nothing was trained on."""
    letters, settings = "ABCDEFGHKLMNPRSTUXYZ", {"model": "cnn", "threads": 1}
    data = load_tensors(*glyphs(letters, TUNING_FONTS, 3), list(letters))
    source = train_run({**settings, "epochs": 8, "batch_size": 32}, data=data)
    ten, others = glyphs("2589", TUNING_FONTS[:5], 2), glyphs("2589", HELD_OUT_FONTS[:-1], 4)
    data = load_tensors(*ten, list("2589"), valid=others)
    assert set(data.train.counts.values()) == {10}
    settings |= {"epochs": 10, "batch_size": 10}

    def accuracy(**more: str) -> float:
        """The mean of three seeds."""
        found = 0.0
        for seed in range(3):
            experiment = prepare(resolve({**settings, **more, "seed": seed}), data=data)
            found += list(experiment.train())[-1].accuracy / 3
        return found

    assert accuracy(from_run=source.name) > accuracy() + 0.02  # measured: 0.90 and 0.86
