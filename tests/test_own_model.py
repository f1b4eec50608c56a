"""Own models, losses and optimizers: all works with them, and a stranger's never run."""

import hashlib
import json
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mnistlab as package
from mnistlab import own_code
from mnistlab.config import TrainConfig
from mnistlab.eject import require_alone
from mnistlab.errors import ConfigError
from mnistlab.experiment import prepare, start, train_run
from mnistlab.resolving import resolve
from mnistlab.resuming import resume
from mnistlab.runs import Run
from mnistlab.storage import load_model, weights_sha256
from mnistlab.studies.verify import verify_run
from tests.command import Result, run_in_process, run_script
from tests.conftest import make_tree
from tests.pages import Page

NET = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, image_size, n_logits, width=8, drop=0.25):
        super().__init__()
        pixels = image_size[0] * image_size[1]
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Dropout(drop),
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(drop), nn.Linear(width, n_logits),
        )

    def forward(self, xb):
        return self.layers(xb)


def my_loss(logits, targets):
    return (logits.sigmoid() - targets).abs().mean()


class Plain:
    def __init__(self, params, lr):
        self.params, self.lr = list(params), lr

    @torch.no_grad()
    def step(self):
        for param in self.params:
            param.add_(param.grad, alpha=-self.lr)

    def zero_grad(self):
        for param in self.params:
            param.grad = None


class Rolling(Plain):
    def __init__(self, params, lr, momentum):
        super().__init__(params, lr)
        self.momentum = momentum
        self.velocities = [torch.zeros_like(param) for param in self.params]

    @torch.no_grad()
    def step(self):
        for param, velocity in zip(self.params, self.velocities):
            velocity.mul_(self.momentum).add_(param.grad)
            param.add_(velocity, alpha=-self.lr)

    def state(self):
        return {str(i): velocity for i, velocity in enumerate(self.velocities)}

    def load_state(self, state):
        for i, velocity in enumerate(self.velocities):
            velocity.copy_(state[str(i)])
"""
# A model whose `forward` is the last line; what a bad one does in its place.
FRAME = """import random
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, image_size, n_logits):
        super().__init__()
        self.flat = nn.Linear(image_size[0] * image_size[1], n_logits)
        self.spare = {spare}
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, xb):
        {body}
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text(NET, encoding="utf-8")
    return file


@pytest.fixture
def settings(net: Path, tiny: Path) -> dict[str, Any]:
    return {"model": f"{net}:Net", "data": str(tiny), "batch_size": 8, "epochs": 3, "lr": 0.05}


def train(*words: str | Path) -> Result:
    return run_in_process("train", "--batch-size", "8", "--json", *words)


def forget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is known to another user: nothing."""
    monkeypatch.setenv("MNISTLAB_STATE", str(tmp_path / "another"))
    monkeypatch.setattr(own_code, "_trusted", set())


# all works


def test_every_command_works_with_an_own_model_loss_and_optimizer(net: Path, tiny: Path) -> None:
    words = ["--model", "net.py:Net", "--model-set", "width=12", "--model-set", "drop=0.5"]
    words += ["--loss", "net.py:my_loss", "--optimizer", "net.py:Rolling", "--momentum", "0.5"]
    done = train(*words, "--data", tiny, "--epochs", "2").ok().json
    assert done["model"] == "net.py:Net"
    [folder] = Path("runs").iterdir()
    assert folder.name.endswith("-net-s0")
    text = (folder / "config.toml").read_text(encoding="utf-8")
    assert "model_set.width = 12" in text
    assert resolve({}, str(folder / "config.toml")).config.model_set == {"width": 12, "drop": 0.5}
    net.write_text("raise SystemExit('the file has changed since')", encoding="utf-8")
    for line in (
        "eval --json",
        f"predict latest {tiny}/valid/dark/0.png --json",
        "report --json",
        "plot latest --what confusion -o c.svg --json",
        "show latest --what confusion",
        "runs show latest --json",
        "runs verify --json",
        "runs compare latest latest --json",
        "train --resume latest --epochs 3 --json",
    ):
        assert run_in_process(*line.split()).code == 0, line
    net.write_text(NET, encoding="utf-8")
    for line in (
        f"train --config {folder}/config.toml --json --epochs 1",
        f"train --from {folder.name} --data {tiny} --json --epochs 1",
        f"train --model net.py:Net --data {tiny} --folds 2 --epochs 1 --json",
        f"lr-find --data {tiny} --model net.py:Net --optimizer net.py:Plain --steps 20",
        f"train --data {tiny} --model net.py:Net --model-set width=4 --dry-run",
    ):
        assert run_in_process(*line.split()).code == 0, line
    told = run_in_process(*f"lr-find --data {tiny} --model net.py:Net --steps 10 "
                          "--model-set width=4 --model-set drop=0.5".split()).err  # fmt: skip
    assert "--model-set width=4 --model-set drop=0.5 --lr" in told


def test_a_stop_in_mid_epoch_resumes_to_the_bit_with_dropout_and_an_optimizer_with_state(
    settings: dict[str, Any], net: Path, tmp_path: Path
) -> None:
    settings |= {"optimizer": f"{net}:Rolling", "schedule": "one-cycle", "momentum": 0.8}
    whole = train_run(settings)
    again = train_run(settings)
    begun = start(prepare(resolve(settings)), Path("parts"), [])
    assert begun.run is not None
    place = begun.now.place
    list(begun.train(lambda: (place.epoch, place.batch) >= (1, 2)))
    assert (place.epoch, place.batch) == (1, 2)
    list(resume(begun.run, []).train())
    shas = {str(run.record().result and run.record().result.weights_sha256)  # type: ignore[union-attr]
            for run in (whole, again, begun.run)}  # fmt: skip
    assert len(shas) == 1
    assert verify_run(begun.run).repeats


def test_an_optimizer_without_state_trains_whole_runs_and_resume_says_so(
    settings: dict[str, Any], net: Path
) -> None:
    run = train_run(settings | {"optimizer": f"{net}:Plain"})
    told = run_in_process("train", "--resume", run.name, "--epochs", "4")
    assert told.code == 2
    assert "net.py:Plain has no state and load_state, so it trains whole runs only" in told.err
    assert verify_run(run).repeats


def test_a_rate_that_an_own_optimizer_does_not_ask_for_is_refused(
    settings: dict[str, Any], net: Path
) -> None:
    settings |= {"optimizer": f"{net}:Plain"}
    for key in ("momentum", "beta2", "weight_decay"):
        flag = f"--{key.replace('_', '-')}"
        with pytest.raises(ConfigError, match=rf"^{flag}: net\.py:Plain asks for none$"):
            train_run(settings | {key: 0.5})
    assert not Path("runs").exists()
    prepare(resolve(settings | {"momentum": 0.5, "schedule": "one-cycle"}))  # which sets it


def test_an_own_optimizer_and_loss_give_the_bits_of_those_they_repeat(
    tiny: Path, net: Path
) -> None:
    plain = {"data": str(tiny), "epochs": 2, "batch_size": 8, "lr": 0.5}
    ours = train_run(plain)
    own = train_run({**plain, "optimizer": f"{net}:Plain", "loss": f"{net}:my_loss"})
    weights = [load_model(run.model_file)[0].state_dict() for run in (ours, own)]
    assert weights_sha256(weights[0]) == weights_sha256(weights[1])
    rolling = train_run({**plain, "optimizer": f"{net}:Rolling", "momentum": 0.5})
    known = train_run({**plain, "optimizer": "momentum", "momentum": 0.5})
    weights = [load_model(run.model_file)[0].state_dict() for run in (rolling, known)]
    assert weights_sha256(weights[0]) == weights_sha256(weights[1])


def test_many_seeds_train_one_after_the_other_each_as_it_would_alone(net: Path, tiny: Path) -> None:
    words = ("--optimizer", f"{net}:Plain", "--data", tiny, "--epochs", "1", "--lr", "0.5")
    study = train(*words, "--seeds", "2").ok().json
    alone = [train(*words, "--seed", str(seed)).ok().json["weights_sha256"] for seed in (0, 1)]
    assert [row["weights_sha256"] for row in study["seeds"]] == alone


def test_an_ejected_own_model_gives_the_same_weights(
    net: Path,
    tiny: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("--model", f"{net}:Net", "--model-set", "width=5", "--loss", f"{net}:my_loss")
    done = train(*words, "--data", tiny, "--epochs", "2").ok().json
    run_in_process("eject", "latest", "-o", "plain.py").ok()
    assert (
        "mnistlab"
        not in Path("plain.py").read_text(encoding="utf-8").partition("import torch\n")[2]
    )
    monkeypatch.setattr(sys, "argv", ["plain.py"])
    with torch.random.fork_rng(devices=[]):  # here: a process of its own imports torch once more
        runpy.run_path("plain.py", run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == done["weights_sha256"]


@pytest.mark.parametrize(
    "more", ["import numpy", "def f():\n    from PIL import Image", "print(1)"]
)
def test_what_does_not_stand_alone_is_not_ejected(more: str) -> None:
    with pytest.raises(ConfigError, match=r"net\.py:Net, line 1: a script takes torch, Python's"):
        require_alone(own_code.SourceCode("net.py:Net", f"{more}\n{NET}"))


# from Python


class Bias(nn.Module):
    """A model of this file, which is passed as it is."""

    def __init__(self, image_size: tuple[int, int], n_logits: int) -> None:
        super().__init__()
        self.flat = nn.Linear(image_size[0] * image_size[1], n_logits)

    def forward(self, xb: torch.Tensor) -> Any:
        return self.flat(xb.flatten(1))


def distance(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (logits.sigmoid() - targets).abs().mean()


def test_objects_from_python_train_and_are_kept_as_text(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lesson.py"
    file.write_text(
        NET + "\nfrom mnistlab import train_run\n"
        f"run = train_run({{'model': Net, 'loss': my_loss, 'optimizer': Rolling, 'epochs': 1,\n"
        f"    'momentum': 0.5, 'model_set': {{'width': 6}}, 'data': {str(tiny)!r}}})\n"
        "print(run.path)\n"
    )
    run = Run(Path(run_script(file)[-1]))
    model, card = load_model(run.model_file)
    assert card.model == "lesson.py:Net"
    assert card.settings == {"width": 6}
    assert "train_run(" not in card.sources["model"].text  # what trains would train once more
    assert isinstance(model, nn.Module)
    assert verify_run(run).repeats
    assert len(list(Path("runs").iterdir())) == 1
    assert b"pickle" not in run.model_file.read_bytes()
    refused = run_in_process("eject", str(run.path))  # for its text imports mnistlab
    assert refused.code == 2
    assert "a script takes torch, Python's own modules, functions" in refused.err
    with pytest.raises(ConfigError, match="top of a file"):
        train_run({"loss": lambda logits, targets: logits.mean(), "data": str(tiny)})
    forget(monkeypatch, tmp_path)
    with pytest.raises(ConfigError, match=r"lesson\.py:Net, SHA-256"):
        load_model(run.model_file)
    package.trust_code(card.sources["model"].sha256)
    load_model(run.model_file)


# whose code runs

WRITES = "from pathlib import Path\nPath('was-here').touch()\n" + NET


@pytest.fixture
def strange(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that somebody else trained; its code leaves a file where it runs."""
    (tmp_path / "theirs.py").write_text(WRITES, encoding="utf-8")
    run = train_run({"model": "theirs.py:Net", "data": str(tiny), "epochs": 1})
    forget(monkeypatch, tmp_path)
    sha = sha_of(run)
    sys.modules.pop(own_code._MODULE + sha)  # as in a new process
    Path("was-here").unlink()
    return run


def sha_of(run: Run) -> str:
    return run.record().sources["model"]["sha256"]


COMMANDS = [
    "eval RUN", "predict RUN TINY/valid/dark/0.png", "report RUN", "show RUN",
    "plot RUN --what weights -o x.svg", "runs compare RUN RUN", "runs verify RUN", "eject RUN",
    "train --resume RUN --epochs 2", "train --from RUN --data TINY",
    "train --config RUN/config.toml", "lr-find --config RUN/config.toml",
]  # fmt: skip


def test_a_strangers_run_runs_with_trust_alone_for_one_command_and_says_whose(
    strange: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(Path("runs").iterdir())
    sha = hashlib.sha256(Path("theirs.py").read_bytes()).hexdigest()
    for line in COMMANDS:
        words = line.replace("RUN", str(strange.path)).replace("TINY", str(tiny)).split()
        refused = run_in_process(*words)
        assert refused.code == 2, line
        assert f"theirs.py:Net, SHA-256 {sha}" in refused.err, line
        assert "--trust-code" in refused.err, line
    # what lists and shows runs never runs code
    run_in_process("runs", "list").ok()
    assert "Path('was-here')" in run_in_process("runs", "show", strange.name, "--json").ok().out
    assert not Path("was-here").exists()
    assert sorted(Path("runs").iterdir()) == before

    done = run_in_process("eval", strange.name, "--trust-code").ok()
    assert f"theirs.py:Net, SHA-256 {sha_of(strange)}" in done.err
    assert Path("was-here").exists()
    monkeypatch.setattr(own_code, "_trusted", set())
    assert run_in_process("eval", strange.name).code == 2  # asked again the next time


def test_a_trusted_text_gives_no_other_function_of_it_to_a_stranger(
    settings: dict[str, Any], net: Path
) -> None:
    net.write_text(NET + "\nfrom os import system\n", encoding="utf-8")
    card = load_model(train_run(settings).model_file)[1]
    code = replace(card.sources["model"], name="net.py:system")
    stranger = replace(card, sources={"model": code}, settings={"command": "touch was-here"})
    with pytest.raises(ConfigError, match=r"net\.py:system, SHA-256"):
        stranger.build()
    assert not Path("was-here").exists()


def test_the_kept_text_runs_and_not_the_file(settings: dict[str, Any], net: Path) -> None:
    run = train_run(settings)
    net.write_text(WRITES, encoding="utf-8")
    assert verify_run(run).repeats
    assert not Path("was-here").exists()


def test_two_texts_of_one_name_are_told_apart(settings: dict[str, Any], net: Path) -> None:
    first = train_run(settings)
    net.write_text(NET + "# changed\n", encoding="utf-8")
    second = train_run(settings)
    found = run_in_process("runs", "compare", str(first.path), str(second.path), "--json").json
    shas = [f"{net}:Net ({sha_of(run)[:16]})" for run in (first, second)]
    assert found["settings"] == {"model": shas}
    assert run_in_process("report", str(first.path), "-o", "page.html").code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "net.py:Net" in page
    assert str(net) not in page


def test_a_batch_job_goes_on_with_its_own_model(net: Path, tiny: Path) -> None:
    words = ["--resume", "latest", "--or-start", "--model", "net.py:Net", "--model-set", "width=3"]
    train(*words, "--data", tiny, "--epochs", "1").ok()
    done = train(*words, "--data", tiny, "--epochs", "2").ok().json
    assert [row["epoch"] for row in done["epochs"]] == [0, 1]
    other = train(*words, "--model-set", "width=4", "--data", tiny)
    assert other.code == 2
    assert "--model-set" in other.err


def test_a_text_that_is_not_that_of_its_hash_is_damage() -> None:
    with pytest.raises(ConfigError, match="hash"):
        own_code.SourceCode("net.py:Net", "x = 1", "0" * 64)
    with pytest.raises(ConfigError, match="name"):
        own_code.SourceCode("net.exe", "x = 1")


def test_the_list_of_trust_that_cannot_be_kept_is_no_fault(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("MNISTLAB_STATE", str(tmp_path / "a file"))
    run = train_run(settings)
    load_model(run.model_file)  # in this process it is known


# bad input


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class Net(:\n", "SyntaxError: invalid syntax (net.py, line 1)"),
        ("class Nett: pass\n", "net.py:Net: not in this file; did you mean Nett?"),
        ("1 / 0\n", "net.py, line 1: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)\n", "net.py, line 1: SystemExit: 3"),
        ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
        ("class Net:\n    pass\n", "net.py:Net: must make an nn.Module, not Net"),
        (NET.replace("width=8, drop", "width, drop"), "missing 1 required positional argument: 'w"),
        (b"\xff\xfe", "UnicodeDecodeError"),
    ],
)  # fmt: skip
def test_a_file_that_gives_no_model_is_refused(
    tmp_path: Path, tiny: Path, text: str | bytes, told: str
) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "net.py").write_bytes(content)
    refused_plainly(train("--model", "net.py:Net", "--data", tiny), told)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return self.flat(xb.flatten(1)).squeeze(1)", "the model gives (1,) for 1 images of 2 cl"),
        ("return self.flat(xb.flatten(1)[:1])", "the model gives (1, 1) for 7 images"),
        ("return self.flat(xb.div_(2).flatten(1))", "forward changes its images; work on a copy"),
        ("return self.flat(xb.flatten(1)) * torch.nan", "its logits are not finite numbers"),
        (
            "return self.flat(xb.flatten(1)) * (random.random() if self.training else 1)",
            "the same step from one seed differs; draw random numbers with torch alone",
        ),
        (
            "self.calls += self.training\n        return self.flat(xb.flatten(1)) + self.calls",
            "keep in buffers what changes from step to step",
        ),
        ("return nn.functional.dropout(self.flat(xb.flatten(1)))", "in eval mode it draws other"),
        (
            "self.seen += 1\n        return self.flat(xb.flatten(1))",
            "in eval mode forward changes its state",
        ),
        ("return self.flat(xb)", "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        ("return [1]", "the model gives list"),
    ],
)
def test_a_model_that_breaks_the_contract_is_refused_before_any_training(
    tmp_path: Path, tiny: Path, body: str, told: str
) -> None:
    (tmp_path / "net.py").write_text(FRAME.format(body=body, spare=None), encoding="utf-8")
    refused_plainly(train("--model", "net.py:Net", "--data", tiny), told)


def test_a_parameter_that_no_gradient_comes_to_is_named(tmp_path: Path, tiny: Path) -> None:
    text = FRAME.format(body="return self.flat(xb.flatten(1))", spare="nn.Linear(2, 2)")
    (tmp_path / "net.py").write_text(text, encoding="utf-8")
    told = "net.py:Net: no gradient comes to spare.weight, spare.bias; use it in forward, or remove"
    refused_plainly(train("--model", "net.py:Net", "--data", tiny), told)
    (tmp_path / "net.py").write_text(text.replace("nn.Linear(2, 2)", "torch.full((2,), torch.inf)"))
    train("--model", "net.py:Net", "--data", tiny, "--epochs", "1").ok()  # no part of the state


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--model net.py:Net --model-set widht=3", "unexpected keyword argument 'widht'"),
        ("--model net.py:Net --hidden 3", "--hidden: needs --model two-layer or cnn, not "),
        ("--model-set width=3", "model_set: goes with a model of your own"),
        ("--model net.py:Net --model-set width", "--model-set: write KEY=VALUE; a value is a te"),
        ("--model net.py:Net --model-set width=2020-01-01", "--model-set: write KEY=VALUE; a val"),
        ("--model net.py:absent", "net.py:absent: not in this file; "),
        ("--model absent.py:Net", "absent.py:Net: FileNotFoundError"),
        ("--model net.py", "--model: write it as net.py:CLASS"),
        ("--loss net.py:bad_loss", "net.py:bad_loss: must give one finite number"),
        ("--loss net.py:my_loss --label-smoothing 0.1", "unexpected keyword argument 'smoothing'"),
        ("--optimizer net.py:Stepless", "net.py:Stepless: it has no step"),
        ("--optimizer net.py:Rateless --schedule one-cycle", "it has no attribute lr, which a sch"),
        ("--optimizer net.py:Keeps", "net.py:Keeps: zero_grad leaves gradients"),
        ("--optimizer net.py:Number", "net.py:Number: state must give tensors by name"),
    ],
)
def test_bad_losses_optimizers_and_settings_are_refused(
    net: Path, tiny: Path, words: str, told: str
) -> None:
    net.write_text(
        NET + "def bad_loss(logits, targets):\n    return logits - targets\n"
        "class Stepless:\n    def __init__(self, params): pass\n"
        "class Rateless(Stepless):\n    def step(self): pass\n    def zero_grad(self): pass\n"
        "class Keeps(Plain):\n    def zero_grad(self): pass\n"
        "class Number(Rolling):\n    def state(self): return {'lr': self.lr}\n",
        encoding="utf-8",
    )
    refused_plainly(train(*words.split(), "--data", tiny), told)


def refused_plainly(result: Result, told: str) -> None:
    assert result.code == 2, result
    assert told in result.err
    assert len(result.err.splitlines()) == 1
    assert "Traceback" not in result.err
    assert not Path("runs").exists()


def test_an_error_in_the_middle_of_a_training_names_the_line(net: Path, tiny: Path) -> None:
    more = "    count = 0\n    def step(self):\n        Rolling.count += 1\n"
    more += "        assert Rolling.count < 6, 'enough'\n        super().step()\n"
    net.write_text(NET + more, encoding="utf-8")
    told = train("--optimizer", "net.py:Rolling", "--data", tiny, "--lr", "0.1")
    assert told.code == 1
    line = len(NET.splitlines()) + 4
    assert told.err.splitlines()[-1] == f"error: net.py, line {line}: AssertionError: enough"


# names and formats


@pytest.mark.parametrize(
    "name", ["net.py:Net", r"C:\a b\net.py:Net", "/x/ü.py:Größe", "CON.py:CON"]
)
def test_a_run_of_an_own_model_has_a_name_for_every_system(tmp_path: Path, name: str) -> None:
    from mnistlab.runs import create_run

    run = create_run(tmp_path / "runs", name, 0, lambda run: None)
    assert set(run.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_runs_without_own_code_say_nothing_of_it(tiny: Path) -> None:
    run = train_run({"data": str(tiny), "epochs": 1})
    assert "sources" not in json.loads(run.record_file.read_text(encoding="utf-8"))
    assert b"sources" not in run.model_file.read_bytes() + run.state_file.read_bytes()
    assert "model_set" not in run.config_file.read_text(encoding="utf-8")


def test_an_own_model_is_never_trained_as_a_wide_stack() -> None:
    wide = TrainConfig(seeds=8, order_seed=0)
    assert wide.is_wide
    for key in ("model", "loss", "optimizer"):
        own: dict[str, Any] = {key: "a.py:B"}
        assert not replace(wide, **own).is_wide


def test_the_page_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page, tree = Page("docs/own-model.md"), str(make_tree(tmp_path / "small", size=(28, 28)))
    for language, code in page.blocks:
        if name := re.match(r"# (\w+\.py)\n", code) if language == "python" else None:
            code = code.replace('"epochs": 1', f'"epochs": 1, "data": {tree!r}')
            (tmp_path / name[1]).write_text(code, encoding="utf-8")
    lines = [words.split() for words in re.findall(r"mnistlab ([^#\n]*)", "\n".join(page.console))]
    assert len(lines) == 11
    for words in lines:
        new = words[0] in ("train", "lr-find") and "--resume" not in words
        run_in_process(*words, *(["--data", tree] if new else [])).ok()
    result = max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime_ns) / "run.json"
    sha = json.loads(result.read_text(encoding="utf-8"))["result"]["weights_sha256"]
    assert run_script("plain.py")[-1] == sha
    monkeypatch.syspath_prepend(tmp_path)
    assert run_script("lesson.py")[-1].startswith("net.py:Net {'width': 16} ")
