"""`mnistlab report`: where the page goes, and what stops it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import needs
from tests.command import Result
from tests.conftest import make_tree
from tests.report.markup import parse

Mnistlab = Callable[..., Result]


@pytest.fixture
def run(mnistlab: Mnistlab, tiny: Path) -> Path:
    mnistlab("train", "--data", tiny, "--epochs", "30", "-q").ok()
    [path] = Path("runs").iterdir()
    return path


def test_the_page_lies_in_the_run_folder_or_where_it_is_asked_for(
    mnistlab: Mnistlab, run: Path
) -> None:
    document = mnistlab("report", "-o", "here.html", "--json").ok().json
    assert document == {
        "schema_version": 1,
        "run": str(run),
        "file": "here.html",
        "bytes": Path("here.html").stat().st_size,
        "missing": {},
    }
    page = run / "report.html"
    assert not page.exists()
    result = mnistlab("report").ok()
    assert result.out == f"{page}\n"
    content = page.read_bytes()
    assert result.err == f"written, {len(content):,} bytes; open it in a browser\n"
    assert parse(content.decode()).all("h1")[0].text == "linear on tiny"
    mnistlab("report", run.name).ok()  # by now there is one file more in the folder
    assert page.read_bytes() == content
    assert mnistlab("eval", run.name).code == 0  # the run is still a run


def test_files_that_are_left_out_and_data_that_is_gone_are_named(
    mnistlab: Mnistlab, run: Path, tiny: Path
) -> None:
    (tiny / "valid/dark/1.png").write_bytes(b"broken")
    result = mnistlab("report", "--data", tiny, "--best", "--skip-bad", "-o", "p.html").ok()
    assert result.err.splitlines()[0].startswith("skipped valid/dark/1.png: ")
    page = parse(Path("p.html").read_text(encoding="utf-8"))
    assert "of 7" in page.id("result").text
    assert "with the best weights" in page.id("result").text
    shutil.rmtree(tiny)
    result = mnistlab("report").ok()
    assert result.err.startswith(f"left out (data): {tiny}: no such folder")
    assert mnistlab("report", "--json").ok().json["missing"]["data"].startswith(str(tiny))
    asked = mnistlab("report", "--data", tiny, "-o", "other.html")
    assert (asked.code, asked.out) == (2, "")
    assert not Path("other.html").exists()


def test_a_run_without_a_model_is_exit_1_and_keeps_the_old_page(
    mnistlab: Mnistlab, run: Path
) -> None:
    (run / "report.html").write_text("old")
    (run / "model.safetensors").unlink()
    result = mnistlab("report", "--json")
    assert (result.code, result.out) == (1, "")
    assert "the run has saved no model yet" in result.err
    (run / "model.safetensors").write_bytes(b"nothing")
    assert mnistlab("report").code == 1
    assert (run / "report.html").read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-o", "page.pdf"), 2, "-o page.pdf: the name must end in .html or .htm\n"),
        (("-o", "no/page.html"), 2, "not a file name in an existing folder"),
        pytest.param(("-o", "/proc/page.html"), 1, "/proc", marks=needs.linux),
        (("--split", "vlaid"), 2, "did you mean valid?"),
        (("--data", "mnist_sampel"), 2, "did you mean mnist_sample?"),
        (("--data", "other"), 2, "the model knows no class grey"),
        (("--device", "cpus"), 2, "--device: not a known name; did you mean cpu?"),
        (("--run-dir", "nowhere"), 2, "nowhere: no runs yet"),
        (("lates",), 2, "did you mean latest?"),
    ],
)
def test_what_cannot_be_written_or_scored_is_said(
    mnistlab: Mnistlab, run: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    make_tree(Path("other"), ("dark", "grey"), train=1, valid=1)
    result = mnistlab("report", *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert result.err.startswith("error: ")
