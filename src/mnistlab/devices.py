"""Which device computes, what of a machine can change the last bits of a result, torchvision."""

import contextlib
import copy
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

import torch
from torch import nn

from mnistlab import __version__
from mnistlab.config import device_name
from mnistlab.errors import ConfigError, RunError
from mnistlab.names import nearest, printable

TORCHS_THREADS = torch.get_num_threads()  # torch's own choice, before anybody changes it


def choose_device(name: str) -> torch.device:
    """`auto` is the first of cuda, mps, cpu that works.

    Raises ConfigError for one that is absent or unknown.
    """
    working = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    name = str(device_name(name))
    if name == "auto":
        name = next(device for device, works in working.items() if works)
    if name not in working:
        raise ConfigError(f"--device {printable(name)}: unknown{nearest(name, ('auto', *working))}")
    if not working[name]:
        raise ConfigError(f"--device {name}: torch {torch.__version__} finds no such device here")
    return torch.device(name)


def environment(device: torch.device, model: str = "") -> dict[str, Any]:
    """All that can change the last bits of a result of `model`."""
    libraries = {"torchvision": version("torchvision")} if model == "resnet18" else {}
    return {
        "mnistlab": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine() + " " + torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        **libraries,
    }


def differences(
    then: Mapping[str, Any], now: Mapping[str, Any], *, strict: bool = False
) -> dict[str, tuple[Any, Any]]:
    """What of an environment is not as it was: name → (then, now).

    Raises ConfigError if `strict` and there is anything.
    """
    found = {key: (then.get(key), value) for key, value in now.items() if then.get(key) != value}
    if strict and found:
        raise ConfigError(
            f"--strict: {'; '.join(in_words(found))}; the last bits of the weights can differ: "
            "use those of then, or leave --strict out"
        )
    return found


def in_words(found: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """The `differences`, one text each: `torch was 2.13.0, now 2.14.1`."""
    return [
        f"{key} was {'not recorded' if then is None else printable(then)}, now {now}"
        for key, (then, now) in found.items()
    ]


def set_threads(count: int | None) -> None:
    """Compute with `count` CPU threads; None or 0: torch's choice. Raises ConfigError."""
    if count and not 1 <= count <= 4096:
        raise ConfigError(f"--threads {count}: must be 1 to 4096, or 0 for torch's choice")
    torch.set_num_threads(count or TORCHS_THREADS)


def keep_freed_memory() -> None:
    """Let the C library keep the memory that tensors give back, for the next ones.

    glibc returns freed memory to the system once there is twice as much as the largest block freed
    so far; each step of a convolutional net then waits for thousands of fresh pages, two fifths of
    its time. A block of 32 MiB, the largest that counts, raises that to 64 MiB (mallopt(3),
    M_MMAP_THRESHOLD). Other libraries are not changed by it.
    """
    torch.empty(32 * 2**20 - 8192, dtype=torch.uint8)  # never touched: costs no memory


# A right answer in bfloat16, with its eight digits of two, is off by 0.0017 of its size, whatever
# the layer. Wrong ones were off by 1.3 or not a number: gradients of whatever was in memory.
_TOLERANCE = 0.02
_TRIALS = 3  # a kernel that reads what it should not can be right by chance


def choose_precision(
    asked: str, model: nn.Module, batches: Sequence[torch.Tensor]
) -> tuple[bool, str]:
    """Whether `model` is computed in bfloat16, for `auto` or `bf16` asked, and why for `auto`.

    `auto` takes it where the device has instructions for it and gets the known answers right on
    `batches`, float (b, 1, H, W) in 0…1. Nothing is timed: the weights must not depend on how busy
    a machine is. Raises ConfigError for bf16 that is asked for and computed wrongly.
    """
    instructions = _bf16_instructions(batches[0].device)
    if asked == "auto" and not instructions:
        return False, "auto: no instructions for bf16 here"
    wrong = _wrong_in_bf16(model, batches)
    if not wrong:
        return True, f"auto: {instructions}, known answers right" if asked == "auto" else ""
    if asked == "auto":
        return False, f"auto: bf16 is wrong here in {wrong}"
    raise ConfigError(
        f"--precision bf16: torch {torch.__version__} computes {wrong} wrongly in it on this "
        "machine; use fp32, or auto"
    )


def _bf16_instructions(device: torch.device) -> str:
    """What computes bfloat16 in hardware, by name; "" where nothing does."""
    if device.type == "cuda":
        works = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.cuda.get_device_name(device) if works else ""
    # oneDNN computes it on a CPU, and can be told to leave instructions unused
    # (ONEDNN_MAX_CPU_ISA); on x86 it also takes it where each number is first made a float32
    onednn = device.type == "cpu" and torch.backends.mkldnn.is_available()
    if not onednn or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return ""
    if platform.machine() not in ("x86_64", "AMD64"):
        return "bf16"
    has = torch.cpu.get_capabilities()
    return next((name for name in ("amx_bf16", "avx512_bf16") if has.get(name)), "")


def _wrong_in_bf16(model: nn.Module, batches: Sequence[torch.Tensor]) -> str:
    """The first layer that bfloat16 gets wrong, of each convolution and product; "" for none."""
    trial, wrong = copy.deepcopy(model).train(), list[str]()

    def check(name: str, layer: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if not wrong and not _is_right_in_bf16(layer, inputs[0].detach()):
            sides = " x ".join(map(str, inputs[0].shape))
            wrong.append(f"{name or type(layer).__name__} ({sides})")

    for name, layer in trial.named_modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        if any(tensor.ndim > 1 for tensor in own):
            layer.register_forward_pre_hook(partial(check, name))
    with torch.no_grad():
        # numbers that bfloat16 can hold, so that both start from the same ones
        for tensor in trial.state_dict().values():
            tensor.copy_(tensor.bfloat16())
        for xb in batches:
            trial(xb)
    return wrong[0] if wrong else ""


@torch.enable_grad()
def _is_right_in_bf16(layer: nn.Module, xb: torch.Tensor) -> bool:
    """Whether output and gradients of a layer are each time what they are in float32."""
    xb = xb.bfloat16().float().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    grad = torch.randn(layer.forward(xb).shape, generator=generator).bfloat16().to(xb)
    movable = [xb, *(param for param in layer.parameters() if param.requires_grad)]

    def answers(bf16: bool) -> list[torch.Tensor]:
        with torch.autocast(xb.device.type, torch.bfloat16, enabled=bf16):
            output = layer.forward(xb).float()
        gradients = torch.autograd.grad(output, movable, grad, materialize_grads=True)
        return [output.detach(), *gradients]

    right = answers(False)
    for _ in range(_TRIALS):
        for answer, known in zip(answers(True), right, strict=True):
            error = (answer - known).norm() / known.norm().clamp(min=1e-30)
            if not error < _TOLERANCE:  # also where it is not a number
                return False
    return True


# What torchvision's Python code looks up of its compiled part while it is imported.
_LOOKED_UP = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def torchvision() -> ModuleType:
    """The torchvision package, also where its compiled operators do not fit the installed torch.

    The one door to it. It takes more than a second to import, so that is done where it is used.

    torchvision from the package index is compiled for CUDA and cannot load its operators beside a
    CPU build of torch; then it cannot be imported at all, although neither its datasets nor its
    classifiers need any. Only then the missing operators are declared; nothing can run them.
    Raises RunError where torchvision cannot be imported even so.
    """
    try:
        with contextlib.suppress(RuntimeError):
            return import_module("torchvision")
        for name in _LOOKED_UP:
            if not hasattr(torch.ops.torchvision, name):
                torch.library.define(f"torchvision::{name}", _SCHEMA)
        return import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        raise RunError(
            f"torchvision cannot be imported ({printable(error)}); install the version that "
            f"belongs to torch {torch.__version__}"
        ) from error
