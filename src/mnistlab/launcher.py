"""What torchrun says to each process that it starts, in the environment. No torch.

docs/scaling.md says how several processes train one model; `processes.py` is how they talk.
"""

import os
import socket
from dataclasses import dataclass

from mnistlab.errors import ConfigError
from mnistlab.names import printable

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
DEFAULT_PARTS = 8  # micro-batches, where several processes may come


@dataclass(frozen=True)
class Launch:
    """One process of several that were started together.

    rank: its number, 0 to size - 1; the first alone writes and prints. local_rank: its number on
    this machine. run_id: the same for every attempt of one launch.
    """

    rank: int
    size: int
    local_rank: int
    run_id: str


def launched() -> Launch | None:
    """What the environment says; None where this process was started alone.

    Raises ConfigError where only some of the variables are there, or one is no number.
    """
    if not os.environ.keys() & {"RANK", "WORLD_SIZE"}:
        return None
    if missing := [name for name in _NEEDED if not os.environ.get(name)]:
        raise ConfigError(
            f"the environment has RANK or WORLD_SIZE, but not {', '.join(missing)}; start several "
            "processes with torchrun, which sets them all, or unset RANK and WORLD_SIZE"
        )
    rank, size, local_rank, port = (_number(name) for name in _NEEDED if name != "MASTER_ADDR")
    if not local_rank <= rank < size or port > 65535:
        raise ConfigError(
            f"the environment says RANK {rank}, LOCAL_RANK {local_rank}, WORLD_SIZE {size}, "
            f"MASTER_PORT {port}, which cannot be; start the processes with torchrun"
        )
    run_id = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if run_id == "none":  # torchrun's default on several machines says nothing
        run_id = f"{socket.gethostname()}-{os.getppid()}"
    return Launch(rank, size, local_rank, run_id)


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise ConfigError(f"the environment says {name}={printable(text)}, which is no number")
    return int(text)
