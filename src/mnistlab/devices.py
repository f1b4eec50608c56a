"""Which device computes, and what of a machine can change the last bits of a result."""

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import torch

from mnistlab import __version__
from mnistlab.config import device_name
from mnistlab.errors import ConfigError
from mnistlab.names import nearest, printable

TORCHS_THREADS = torch.get_num_threads()  # torch's own choice, before anybody changes it


def choose_device(name: str) -> torch.device:
    """`auto` is the first of cuda, mps, cpu that works.

    Raises ConfigError for one that is absent or unknown.
    """
    working: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    name = str(device_name(name))
    if name == "auto":
        name = next(device for device, works in working.items() if works())
    if name not in working:
        raise ConfigError(f"--device {printable(name)}: unknown{nearest(name, ('auto', *working))}")
    if not working[name]():
        raise ConfigError(f"--device {name}: torch {torch.__version__} finds no such device here")
    return torch.device(name)


def environment(device: torch.device, model: str = "") -> dict[str, Any]:
    """All that can change the last bits of a result of `model`."""
    found = {
        "mnistlab": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine() + " " + torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }
    return found | ({"torchvision": version("torchvision")} if model == "resnet18" else {})


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
