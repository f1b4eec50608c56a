"""`mnistlab report`: where the page goes, and what stops it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import Result
from tests.conftest import make_tree
from tests.report.markup import parse

Mnistlab = Callable[..., Result]


@pytest.fixture
def run(mnistlab: Mnistlab, tiny: Path) -> Path:
    mnistlab("train", "--data", tiny, "--epochs", "30", "-q").ok()
    [path] = Path("runs").iterdir()
    return path


def test_the_page_lies_in_the_run_folder_and_its_path_is_the_result(
    mnistlab: Mnistlab, run: Path
) -> None:
    result = mnistlab("report").ok()
    page = run / "report.html"
    assert result.out == f"{page}\n"
    content = page.read_bytes()
    assert result.err == f"written, {len(content):,} bytes; open it in a browser\n"
    assert parse(content.decode()).all("h1")[0].text == "linear on tiny"
    mnistlab("report", run.name).ok()  # by now there is one file more in the folder
    assert page.read_bytes() == content
    assert mnistlab("runs", "list", "--json").code in (0, 2)  # the run is still a run
    assert mnistlab("eval", run.name).code == 0


def test_json_says_what_was_written(mnistlab: Mnistlab, run: Path) -> None:
    document = mnistlab("report", "-o", "here.html", "--json").ok().json
    assert document == {
        "schema_version": 1,
        "run": str(run),
        "file": "here.html",
        "bytes": Path("here.html").stat().st_size,
        "missing": {},
    }
    assert not (run / "report.html").exists()


def test_what_is_scored_can_be_chosen(mnistlab: Mnistlab, run: Path, tiny: Path) -> None:
    (tiny / "valid/dark/1.png").write_bytes(b"broken")
    arguments = ("--data", tiny, "--split", "valid", "--best", "--skip-bad")
    result = mnistlab("report", *arguments, "-o", "p.html").ok()
    assert result.err.splitlines()[0].startswith("skipped valid/dark/1.png: ")
    tree = parse(Path("p.html").read_text(encoding="utf-8"))
    assert "of 7" in tree.id("result").text
    assert "with the best weights" in tree.id("result").text


def test_without_the_data_there_is_a_page_and_a_notice(
    mnistlab: Mnistlab, run: Path, tiny: Path
) -> None:
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
        (("-o", "/proc/page.html"), 1, "/proc"),
        (("--split", "vlaid"), 2, "did you mean valid?"),
        (("--data", "mnist_sampel"), 2, "did you mean mnist_sample?"),
        (("--data", "other"), 2, "the model knows no class grey"),
        (("--device", "gpu"), 2, "--device: not a known name; did you mean cpu?"),
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


def test_a_full_disk_leaves_the_old_page(
    mnistlab: Mnistlab, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnistlab("report").ok()
    before = (run / "report.html").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnistlab.files.write_whole", full)
    result = mnistlab("report", "--best", "--json")
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("report.html: cannot be written: No space left on device\n")
    assert (run / "report.html").read_bytes() == before
