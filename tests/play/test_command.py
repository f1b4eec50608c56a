"""`mnistlab play`: the file, what it may do, and what is refused."""

import shutil
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from mnistlab import own_code
from mnistlab.models import ModelCard
from mnistlab.runs import Run
from mnistlab.storage import load_model, save_model
from tests.command import Result
from tests.conftest import baseline_of
from tests.play.conftest import Opened

Mnistlab = Callable[..., Result]
OWN = """from torch import nn
class Net(nn.Sequential):
    def __init__(self, image_size):
        super().__init__(nn.Flatten(), nn.Linear(image_size[0] * image_size[1], 1))
"""


def test_a_file_is_made_and_opened(
    mnistlab: Mnistlab, runs: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def opening(url: str) -> bool:
        shown.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", opening)
    run = runs("--model", "linear", "--epochs", "2")
    made = mnistlab("play", run.path, "--open", "--json").ok().json
    assert (made["file"], made["missing"]) == ("play.html", "")
    assert made["bytes"] == Path("play.html").stat().st_size < 300_000
    assert shown == [Path("play.html").absolute().as_uri()]
    assert mnistlab("play", run.path, "-o", "page.txt").code == 2


def test_of_a_cnn_it_is_small_enough(mnistlab: Mnistlab, runs: Callable[..., Run]) -> None:
    run = runs("--config", "cnn", "--epochs", "1")
    assert mnistlab("play", run.path, "--best", "--json").ok().json["bytes"] < 1_500_000


def test_a_run_without_its_data_has_a_page_without_images(
    mnistlab: Mnistlab, runs: Callable[..., Run], tmp_path: Path
) -> None:
    own = runs("--model", "linear", "--epochs", "2")
    run = Run(tmp_path / "alone")
    run.path.mkdir()
    shutil.copy(own.model_file, run.model_file)
    done = mnistlab("play", run.path).ok()
    assert "no images of the run" in done.err
    assert '"valid": null' in Path("play.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "ground", "why"),
    [("resnet18", 0.0, "can run resnet18"), ("linear", None, "no even ground")],
)
def test_what_no_page_can_do_is_refused(
    mnistlab: Mnistlab, tiny: Path, model: str, ground: float | None, why: str
) -> None:
    run = baseline_of(tiny)
    card = ModelCard(model, ("dark", "light"), (4, 4), {}, "mnist", ground)
    if model == "resnet18":
        card = ModelCard(model, ("dark", "light"), (32, 32), {}, "mnist", ground)
    save_model(run.model_file, card.build().state_dict(), card)
    done = mnistlab("play", run.path)
    assert (done.code, why in done.err) == (2, True)
    assert not Path("play.html").exists()


def test_an_own_model_is_refused_by_name_also_that_of_a_stranger(
    mnistlab: Mnistlab, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("net.py").write_text(OWN, encoding="utf-8")
    mnistlab("train", "--model", "net.py:Net", "--data", tiny, "--epochs", "1", "-q").ok()
    refused = mnistlab("play")
    monkeypatch.setenv("MNISTLAB_STATE", str(tmp_path / "another"))
    monkeypatch.setattr(own_code, "_trusted", set())
    for done in (refused, mnistlab("play")):
        assert (done.code, "no page can run net.py:Net; use" in done.err) == (2, True)
    assert not Path("play.html").exists()


def test_the_names_of_classes_cannot_end_a_script(
    mnistlab: Mnistlab, runs: Callable[..., Run], opened: Opened, tmp_path: Path
) -> None:
    own = runs("--model", "linear", "--epochs", "2")
    run = Run(tmp_path / "named")
    run.path.mkdir()
    model, card = load_model(own.model_file)
    names = ("</script><b>", "<!--<script>")
    card = ModelCard(
        card.model, names, card.image_size, card.settings, card.loss, card.ground, card.fit
    )
    save_model(run.model_file, model.state_dict(), card)
    page = opened(run)
    assert page.inner_text("#bars tr:first-child th") == names[0]


def test_the_policy_stops_scripts_and_the_network(runs: Callable[..., Run], opened: Opened) -> None:
    attack = (
        "<script>document.title='owned'</script><img alt='' src='http://example.invalid/x'>"
        "<b onclick=\"document.title='owned'\" id='bold'>bold</b>"
    )

    def attacked(text: str) -> str:
        return text.replace("</main>", f"{attack}</main>")

    page = opened(runs("--model", "linear", "--epochs", "2"), attacked)
    page.click("#bold")
    assert "owned" not in page.title()
    assert len(page.heard) >= 3
    assert all("Content Security Policy" in text for text in page.heard)
    page.heard.clear()
    assert page.asked.pop() == "http://example.invalid/x"  # and was stopped: see above
