"""Devices and threads: what is chosen, and what is refused."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mnistlab import __version__, system
from mnistlab.devices import TORCHS_THREADS, choose_device, environment, set_threads
from mnistlab.errors import ConfigError
from mnistlab.experiment import prepare
from mnistlab.resolving import resolve
from tests import needs


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    devices = {"cuda": False, "mps": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices["cuda"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: devices["mps"])
    return devices


@pytest.mark.parametrize(
    ("found", "chosen"),
    [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("cuda", "mps"), "cuda")],
)
def test_auto_is_the_first_device_that_works(
    present: dict[str, bool], found: tuple[str, ...], chosen: str
) -> None:
    present |= dict.fromkeys(found, True)
    assert choose_device("auto") == torch.device(chosen)
    assert choose_device("cpu") == torch.device("cpu")  # named, although another is faster


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("cuda", "--device cuda: torch .* finds no such device here"),
        ("mps", "--device mps: torch .* finds no such device here"),
        ("cud", "--device cud: unknown; did you mean cuda"),
        ("\x1b", "unknown; known: auto, cuda, mps, cpu"),
    ],
)
@pytest.mark.usefixtures("present")
def test_an_absent_or_unknown_device_is_refused(name: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        choose_device(name)


def test_threads_are_set_and_none_or_zero_is_torchs_own_choice() -> None:
    set_threads(1)
    assert torch.get_num_threads() == 1
    set_threads(2)
    assert torch.get_num_threads() == 2
    for count in (None, 0):
        set_threads(2)
        set_threads(count)
        assert torch.get_num_threads() == TORCHS_THREADS


@pytest.mark.parametrize("count", [-1, 4097])
def test_a_thread_count_that_cannot_be_is_refused(count: int) -> None:
    before = torch.get_num_threads()
    with pytest.raises(ConfigError, match=f"--threads {count}: must be 1 to 4096"):
        set_threads(count)
    assert torch.get_num_threads() == before


def test_the_environment_names_what_can_change_the_last_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(1)
    found = environment(torch.device("cpu"))
    assert found["mnistlab"] == __version__
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert found["device"] == "cpu"
    assert found["threads"] == 1
    assert set(found) >= {"platform", "processor"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert environment(torch.device("cuda", 1))["device"] == "GPU 1"


@needs.linux
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries differ")
def test_freed_memory_is_kept_for_the_next_tensors() -> None:
    program = """
import resource, torch
from mnistlab.devices import keep_freed_memory
def fresh_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        kept = [torch.ones(2**20) for _ in range(10)]
        del kept  # 40 MB at once: more than the library keeps on its own
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
keep_freed_memory()
fresh_pages()
assert fresh_pages() < 1000  # 200,000 where all is given back each time
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["gpu", "GPU", "CUDA", "cuda:0", "0", 0, "gpu:0"])
def test_a_gpu_is_understood_by_the_names_of_other_tools(
    present: dict[str, bool], monkeypatch: pytest.MonkeyPatch, tiny: Path, name: object
) -> None:
    monkeypatch.setattr(system, "MACOS", False)
    resolved = resolve({"device": name, "data": str(tiny)})
    assert resolved.config.device == "cuda"  # as a config records it
    with pytest.raises(ConfigError, match=r"--device cuda: torch .* finds no such device here"):
        prepare(resolved)
    present["cuda"] = True
    assert choose_device(str(name)) == torch.device("cuda")
    assert choose_device("CPU") == torch.device("cpu")
    monkeypatch.setattr(system, "MACOS", True)
    assert resolve({"device": "gpu"}).config.device == "mps"
