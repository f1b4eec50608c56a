"""Every version opens, scores, predicts and goes on with the runs of every release.

Where torch and machine are those of the release, figures and weights are equal to the bit;
elsewhere they are near.
"""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mnistlab import __version__
from tests.command import Result
from tests.golden.play import machine
from tests.releases import EXPECTED, HERE, IMAGES, make_images
from tests.releases.__main__ import RUNS

Mnistlab = Callable[..., Result]
RELEASES = sorted(path.parent.name for path in HERE.glob(f"*/{EXPECTED}"))


@cache
def expected(release: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((HERE / release / EXPECTED).read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize(
    ("release", "name"), [(one, name) for one in RELEASES for name in expected(one)["runs"]]
)
def test_a_run_of_a_release_opens_predicts_and_goes_on(
    mnistlab: Mnistlab, release: str, name: str
) -> None:
    make_images()
    shutil.copytree(HERE / release / name, Path("runs", name))
    then, bits = expected(release)["runs"][name], machine() == expected(release)["machine"]
    scored, epochs = then["scored"], then["epochs"]
    data = ["--data", "tiny"] if scored["n"] == 8 else []  # it lies elsewhere now
    trust = ["--trust-code"] if name.startswith("own") else []

    def says(*words: str) -> Any:
        return mnistlab(*words, "--json", *trust).ok().json

    # neither runs code, so neither asks for trust
    shown = mnistlab("runs", "show", name, "--json").ok().json
    assert shown["status"] == ("stopped" if "stopped" in name else "done")
    assert mnistlab("runs", "list", "--json").ok().json["runs"][0]["name"] == name

    now = says("eval", name, *data)
    assert now["accuracy"] == pytest.approx(scored["accuracy"], abs=0 if bits else 0.13)
    assert now["loss"] == (scored["loss"] if bits else pytest.approx(scored["loss"], rel=0.05))

    images = says("predict", name, "--prepare", "never", *IMAGES)["predictions"]
    for image, before in zip(images, then.get("predicted", images), strict=True):
        assert image["class"] == before["class"]
        assert image["probability"] == pytest.approx(before["probability"], abs=0.02)
        assert image == before or not bits

    goes_on = ("train", "--resume", name, *data)
    if not epochs:  # several models, the baseline; a calibrated one is done
        assert mnistlab(*goes_on).code == (0 if name == "calibrated" else 2)
        return
    ended = says(*goes_on, "--epochs", str(epochs))
    assert [row["epoch"] for row in ended["epochs"]] == [*range(epochs)]
    assert ended["accuracy"] == pytest.approx(then["unbroken"]["accuracy"], abs=0 if bits else 0.2)
    assert ended["weights_sha256"] == then["unbroken"]["weights_sha256"] or not bits
    assert mnistlab("runs", "show", name, "--json").ok().json["status"] == "done"


def test_this_release_has_every_kind_of_run_and_all_are_small() -> None:
    this = __version__.rpartition(".")[0]
    assert this in RELEASES, f"python -m tests.releases {this} ."
    assert expected(this)["runs"].keys() == RUNS.keys()
    for release in RELEASES:
        folders = {path.name for path in (HERE / release).iterdir()} - {EXPECTED}
        assert folders == expected(release)["runs"].keys()
    assert sum(path.stat().st_size for path in HERE.rglob("*.*")) < 1_000_000
