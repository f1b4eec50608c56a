"""Shared fixtures. No test touches the network, the user's cache or the current folder."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from PIL import Image

from mnistlab.cli.signals import SIGNALS
from mnistlab.runs import Run
from tests import needs, systems
from tests.command import Result, run_in_process

# Before torch is imported, here and in every process that a test starts: the tests run side by
# side, one a core, and a second thread would only get in the way of the others.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell that starts the tests in the background has them ignore Ctrl-C, and what ignores a signal
# hands that on: the processes that the tests send one would never hear it.
for name, default in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)
    if number and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)

if TYPE_CHECKING:  # torch, which the process that shares the tests out need not import
    from mnistlab.data.store import ImageData
    from tests.reliability.processes import Server

CHECKOUT = Path(__file__).parents[1]
# processes are killed, limited and measured there as Linux does it
collect_ignore = [] if needs.LINUX else ["reliability"]

Examples = Callable[[int, int], int]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--campaign", action="store_true", help="many examples, and the table of the promises"
    )
    parser.addoption(
        "--system", choices=("windows", "macos"), help="run where that refuses what it refuses"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start again with the layer of `--system` below everything."""
    system = config.getoption("system")
    if system and system != systems.INSTALLED:
        config.pluginmanager.getplugin("capturemanager").stop_global_capturing()
        # a folder without what only the system below can delete
        own = Path(tempfile.gettempdir()) / f"mnistlab-{system}"
        own.mkdir(exist_ok=True)
        environment = systems.environment(system) | {"PYTEST_DEBUG_TEMPROOT": str(own)}
        words = [sys.executable, "-m", "pytest", *config.invocation_params.args]
        os.execve(sys.executable, words, os.environ | environment)


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> Examples:
    """`examples(few, many)` is the number of examples to try: many under `--campaign`."""
    return lambda few, many: many if request.config.getoption("campaign") else few


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes by the name of their argument: what is packed with the time in it would give a case
    another name in each of the processes that share the tests out between them."""
    return argname if isinstance(val, bytes | bytearray) else None


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all processes that share the tests out."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def shared_cache(shared_folder: Path) -> Path:
    """One cache for all tests, so that the bundled data is unpacked and decoded once."""
    return shared_folder / "cache"


@pytest.fixture(scope="session")
def book_two_layer(shared_cache: Path, shared_folder: Path) -> Run:
    """The run of `train --config book-two-layer`, trained once; not to be changed."""
    from mnistlab.experiment import train_run

    runs = shared_folder / "two-layer"
    with FileLock(f"{runs}.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTLAB_CACHE", str(shared_cache))
        if not runs.exists():
            train_run({}, "book-two-layer", runs)
    [path] = runs.iterdir()
    return Run(path)


@pytest.fixture(scope="session")
def server() -> "Iterator[Server]":
    """Starts commands as forks of a process that has torch imported."""
    if not needs.LINUX:
        pytest.skip("processes are killed, limited and measured as Linux does it")
    from tests.reliability.processes import Server

    started = Server()
    yield started
    started.close()


@pytest.fixture(autouse=True)
def surroundings(
    shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Every test in a folder of its own, with the session's cache and no terminal variables."""
    import torch

    # what a test runs in this process ends like a process of its own: deaf to signals
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setenv("MNISTLAB_CACHE", str(shared_cache))
    monkeypatch.setenv("MNISTLAB_STATE", str(tmp_path / "state"))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LC_MESSAGES", "C")  # English, whatever this machine speaks
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what train does; and tests run well beside other work
    yield
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that only this test has."""
    folder = tmp_path / "own-cache"
    monkeypatch.setenv("MNISTLAB_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def sample(shared_cache: Path) -> "ImageData":
    """The bundled MNIST_SAMPLE, loaded."""
    from mnistlab.data.named import load_data

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTLAB_CACHE", str(shared_cache))
        return load_data("mnist_sample")


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The folder with MNIST's own four files, which do not travel with mnistlab."""
    given = os.environ.get("MNISTLAB_MNIST")
    folder = Path(given) if given else CHECKOUT.parent / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip("MNIST's own files are not here; name their folder in MNISTLAB_MNIST")
    return folder


@pytest.fixture
def mnistlab() -> Callable[..., Result]:
    """Run a command in this process: `mnistlab("train", "--epochs", "1")`."""
    return run_in_process


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder of 4 x 4 images that any model learns at once: `dark` and `light`, 12 + 4 each."""
    return make_tree(tmp_path / "tiny")


def make_tree(
    root: Path,
    classes: tuple[str, ...] = ("dark", "light"),
    size: tuple[int, int] = (4, 4),
    train: int = 12,
    valid: int = 4,
) -> Path:
    """Write a tree of PNG files, class k of n in grey levels around 255 (k + ½) / n."""
    for split, count in (("train", train), ("valid", valid)):
        for k, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                level = int(255 * (k + 0.5) / len(classes)) + i % 7 - 3
                image = Image.new("L", size, level)
                image.putpixel((i % size[0], i % size[1]), (i * 37 + k * 11) % 256)
                image.save(folder / f"{i}.png")
    return root


def baseline_of(tree: Path) -> Run:
    """A run of the baseline on `tree`, below `runs`."""
    from mnistlab.experiment import train_run

    return train_run({"model": "pixel-similarity", "data": str(tree), "device": "cpu"})


def linear_run_of(
    tree: Path, weight: float = 1.0, classes: tuple[str, ...] = ("dark", "light")
) -> Run:
    """A run on `tree` that calls the bright images of two classes the second class if weight < 0.

    Its logit is `weight` times (mean level - ½); above 0 means the first of `classes`.
    """
    import torch

    from mnistlab.models import ModelCard, build_model
    from mnistlab.storage import save_model

    run = baseline_of(tree)
    card = ModelCard("linear", classes, (4, 4), {"init": "normal"}, "mnist")
    model = build_model("linear", (4, 4), card.classes)
    torch.nn.init.constant_(model.get_parameter("weights"), weight / 16)
    torch.nn.init.constant_(model.get_parameter("bias"), -weight / 2)
    save_model(run.model_file, model.state_dict(), card)
    return run
