"""What torchrun says to each process that it starts, in the environment. No torch.

docs/scaling.md says how several processes train one model; `processes.py` is how they talk.
"""

import os
import socket
from dataclasses import dataclass

from mnistlab.errors import ConfigError

_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
DEFAULT_PARTS = 8  # micro-batches, where several processes may come


@dataclass(frozen=True)
class Launch:
    """One process of several that were started together; by default one that nobody launched.

    rank: its number, 0 to size - 1; the first alone writes and prints. local_rank: its number on
    this machine. run_id: the same for every attempt of one launch; empty without a launcher.
    again: whether torchrun had to start all once more.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    run_id: str = ""
    again: bool = False


def launched() -> Launch:
    """What the environment says.

    Raises ConfigError where a variable is missing, is no number, or cannot be right.
    """
    if not os.environ.keys() & {"RANK", "WORLD_SIZE"}:
        return Launch()
    missing = [name for name in _NUMBERS if not os.environ.get(name, "").isdecimal()]
    if not os.environ.get("MASTER_ADDR"):
        missing.append("MASTER_ADDR")
    if missing:
        raise ConfigError(
            f"this is to be one of several processes, but the environment does not say which: not "
            f"{', '.join(missing)}; start several processes with torchrun, which sets them all, or "
            "unset RANK and WORLD_SIZE"
        )
    rank, size, local_rank = (int(os.environ[name]) for name in _NUMBERS[:3])
    if not local_rank <= rank < size:
        raise ConfigError(
            f"the environment says RANK {rank}, LOCAL_RANK {local_rank}, WORLD_SIZE {size}, which "
            "cannot be; start the processes with torchrun"
        )
    run_id = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if run_id == "none":  # torchrun's default on several machines says nothing
        run_id = f"{socket.gethostname()}-{os.getppid()}"
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return Launch(rank, size, local_rank, run_id, again)
