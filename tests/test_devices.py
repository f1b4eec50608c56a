"""Devices and threads: what is chosen, and what is refused."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mnistlab import __version__, devices, system
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


class Wrong(nn.Linear):
    """A layer of which bfloat16 gets one answer wrong: as kernels did that read too far."""

    answer = ""

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(xb)
        factors = {
            "output": 1.1,
            "gradient of the input": 0.5,
            "gradient of the weights": torch.nan,
        }
        factor = factors[self.answer]
        if self.answer == "gradient of the input":
            xb.register_hook(lambda grad: grad * factor)
        if self.answer == "gradient of the weights":
            self.weight.register_hook(lambda grad: grad * factor)
        return super().forward(xb) * (factor if self.answer == "output" else 1)


BATCHES = [torch.rand(8, 1, 6, 6), torch.rand(3, 1, 6, 6)]


def net(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), layer)


def test_auto_is_bf16_where_the_processor_has_it_and_gets_the_known_answers_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = net(nn.Linear(64, 5))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(devices, "_bf16_instructions", lambda _: "made_up")
    right = (True, "auto: made_up, known answers right")
    assert devices.choose_precision("auto", model, BATCHES) == right
    assert devices.choose_precision("bf16", model, BATCHES) == (True, "")
    monkeypatch.setattr(devices, "_bf16_instructions", lambda _: "")
    missing = (False, "auto: no instructions for bf16 here")
    assert devices.choose_precision("auto", model, BATCHES) == missing
    assert devices.choose_precision("bf16", model, BATCHES) == (True, "")  # slow, and not wrong
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(param.grad is None for param in model.parameters())


@pytest.mark.parametrize("answer", ["output", "gradient of the input", "gradient of the weights"])
def test_a_wrong_kernel_is_found_by_its_answers(
    monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(devices, "_bf16_instructions", lambda _: "made_up")
    monkeypatch.setattr(Wrong, "answer", answer)
    model = net(Wrong(64, 5))
    wrong = (False, "auto: bf16 is wrong here in 3 (8 x 64)")
    assert devices.choose_precision("auto", model, BATCHES) == wrong
    with pytest.raises(ConfigError, match=r"--precision bf16: torch .* computes 3 .* use fp32"):
        devices.choose_precision("bf16", model, BATCHES)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 instructions")
def test_the_instructions_are_those_that_the_library_uses() -> None:
    """Told to leave them unused, it is as on a processor without them."""
    program = """
import torch
from mnistlab.devices import _bf16_instructions
print(repr(_bf16_instructions(torch.device("cpu"))))
"""
    words = [sys.executable, "-c", program]
    narrow = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(words, env=narrow, capture_output=True, text=True, check=True)
    assert done.stdout == "''\n"
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    has = torch.cpu.get_capabilities()
    names = [f"'{name}'" for name in ("amx_bf16", "avx512_bf16") if has.get(name)]
    assert done.stdout.strip() == (names[0] if names else "''")
