"""Several processes that train together: what they tell each other, and what if one is lost.

Words go through the launcher's store, a small server that torchrun starts; tensors from process to
process: over the network with gloo, between GPUs with nccl. docs/scaling.md.
"""

import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

if dist.is_available():  # not in every build of torch
    from torch.distributed.distributed_c10d import PrefixStore, Store
    from torch.distributed.rendezvous import rendezvous

from mnistlab.config import TrainConfig
from mnistlab.errors import ConfigError, MnistlabError, RunError
from mnistlab.launcher import Launch
from mnistlab.names import printable

JOINING = 20.0  # seconds in which all processes must have found each other
SILENCE = 12.0  # seconds without a sign of life, after which a process counts as lost
_CHUNK = 4 * 2**20  # bytes; the store takes no value of 8 MiB


class LostError(RunError):
    """Another process has failed, was killed, or cannot be reached."""


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostError("the machine of the first process cannot be reached any more") from error


class Team:
    """The processes that train together, as one of them sees them; without a launch, it is alone.

    rank, size: its number and how many they are. run_id: what the launcher calls them all. asked:
    whether this process was asked to stop. stopped: whether one of them was, before the last step;
    all know the same.
    """

    def __init__(self, launch: Launch | None = None) -> None:
        """Meet the others. Raises LostError where they cannot all be reached."""
        launch = launch or Launch()
        self.rank, self.local_rank = launch.rank, launch.local_rank
        self.size, self.run_id = launch.size, launch.run_id
        self.asked: Callable[[], bool] = lambda: False
        self.stopped = False
        self._alone = self.size == 1
        if self._alone:
            return
        if not dist.is_available():
            raise ConfigError("this build of torch can train with one process only")
        self._turn, self._looked = 0, 0.0
        self._signs: dict[int, tuple[bytes, float]] = {}  # of a process the last one, and when
        self._nccl = torch.cuda.is_available() and dist.is_nccl_available()
        # in a thread, as some waits of torch last longer than they were told to
        joined: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        threading.Thread(target=self._join, args=(joined,), daemon=True).start()
        try:
            error = joined.get(timeout=JOINING + 2)
        except queue.Empty:
            error = TimeoutError("no answer from MASTER_ADDR")
        if error is not None:
            why = str(error).splitlines()[0][:200]
            raise LostError(
                f"process {self.rank} of {self.size} could not reach the others in {JOINING:g} s: "
                f"{why}; docs/scaling.md says what must be open between machines"
            ) from error
        self._vectors: queue.SimpleQueue[torch.Tensor] = queue.SimpleQueue()
        self._sums: queue.SimpleQueue[torch.Tensor | RuntimeError] = queue.SimpleQueue()
        threading.Thread(target=self._show_signs, daemon=True).start()

    def _join(self, joined: "queue.SimpleQueue[Exception | None]") -> None:
        limit = timedelta(seconds=JOINING)
        try:
            found = rendezvous("env://", self.rank, self.size, timeout=limit)
            self._store = self._meet(next(found)[0])
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if self._nccl else "gloo",
                store=PrefixStore("links", self._store),
                rank=self.rank,
                world_size=self.size,
                timeout=limit,
            )
            joined.put(None)
        except (RuntimeError, OSError, ValueError) as error:
            joined.put(error)

    def _meet(self, store: "Store") -> "Store":
        """The part of `store` that the processes of this attempt alone use.

        torchrun keeps its store when it starts all again, with whatever the last attempt left in
        it. So each process comes with a word of its own, and under that word the first one tells
        it the name of this meeting. Who has answered under that name is of this attempt.
        """
        word, name = secrets.token_hex(8), secrets.token_hex(8)
        ranks, missing = [str(rank) for rank in range(self.size)], list[str]()
        end = time.monotonic() + JOINING
        store.set(f"here {self.rank}", word)
        while time.monotonic() < end:
            for rank in ranks if self.rank == 0 else []:
                if store.check([f"here {rank}"]):
                    store.set(f"welcome {store.get(f'here {rank}').decode()}", name)
            if store.check([f"welcome {word}"]):
                met = PrefixStore(store.get(f"welcome {word}").decode(), store)
                met.set(str(self.rank), "")
                missing = [rank for rank in ranks if not met.check([rank])]
                if not missing:
                    return met
            time.sleep(0.01)
        raise TimeoutError(f"nothing was heard of process {', '.join(missing or ranks[:1])}")

    def take_part(self, config: TrainConfig) -> bool:
        """Go on with as many processes as can train this; whether this is one of them.

        One model is trained by a power of two, models that train at once by one alone.
        Raises ConfigError, in all processes, where there are more than the work can be cut into.
        """
        if self.size == 1 or config.is_wide:
            self.size = 1
            return self.rank == 0
        if config.model == "pixel-similarity":
            raise ConfigError(
                f"{self.size} processes: pixel-similarity is fitted in one pass, by one"
            )
        pieces = [(config.folds or config.seeds, "models", "folds" if config.folds else "seeds")]
        if not config.is_study:
            self.size = 2 ** (self.size.bit_length() - 1)
            pieces = [
                (config.micro_batches, "micro-batches", "micro-batches"),
                (config.batch_size, "images in a batch", "batch-size"),
            ]
        for n, what, flag in pieces:
            if n < self.size:
                raise ConfigError(
                    f"{self.size} processes for {n} {what}: start at most {n}, or raise --{flag}"
                )
        if self.rank < self.size:
            threading.Thread(target=self._exchange, daemon=True).start()
        return self.rank < self.size

    def add(self, vector: torch.Tensor) -> torch.Tensor:
        """The sum of the vectors of all, added as a tree: the same bits in each. Raises LostError.

        The number of processes must be a power of two.
        """
        if self.size == 1:
            return vector
        # another thread waits for the network: this one can be interrupted, and look for the lost
        self._vectors.put(vector if vector.is_cuda and self._nccl else vector.cpu())
        while True:
            with suppress(queue.Empty):
                total = self._sums.get(timeout=1.0)
                break
            self._look_for_lost()
        if isinstance(total, RuntimeError):
            self._looked = 0.0
            self._look_for_lost()  # the one that ended has said why, if it could
            why = str(total).splitlines()[0][:200]
            raise LostError(f"lost the connection to another process: {why}") from total
        return total.to(vector.device)

    def _exchange(self) -> None:
        try:
            # How long a step may take is nobody's to say. Whether all are alive is asked instead.
            limit, ranks = timedelta(days=365), [*range(self.size)]
            group = dist.new_group(ranks, timeout=limit, use_local_synchronization=True)
            while True:
                vector, distance = self._vectors.get(), 1
                # Neighbours swap their sums and both add the two; then pairs of neighbours, and so
                # on. a + b and b + a are the same to the bit.
                while distance < self.size:
                    peer, theirs = self.rank ^ distance, torch.empty_like(vector)
                    send = dist.P2POp(dist.isend, vector, peer, group)
                    receive = dist.P2POp(dist.irecv, theirs, peer, group)
                    for work in dist.batch_isend_irecv([send, receive]):
                        work.wait()
                    vector, distance = vector + theirs, distance * 2
                self._sums.put(vector)
        except RuntimeError as error:
            self._sums.put(error)

    def share(self, what: Any) -> list[Any]:
        """What each process says, in the order of their numbers: plain data for JSON."""
        if self.size == 1:
            return [what]
        self._turn += 1
        self.put(f"{self._turn}/{self.rank}", json.dumps(what).encode())
        return [json.loads(self.get(f"{self._turn}/{rank}")) for rank in range(self.size)]

    def require_same(self, facts: Mapping[str, Any]) -> None:
        """Raise ConfigError, in all processes, unless each of them has the same `facts`."""
        first, *others = self.share(facts)
        for rank, theirs in enumerate(others, start=1):
            for key, value in first.items():
                if theirs[key] != value:
                    raise ConfigError(
                        f"process {rank} has another {key} than process 0, "
                        f"{printable(theirs[key])} and not {printable(value)}; they must be equal"
                    )

    @contextmanager
    def first_on_each_machine(self) -> Iterator[None]:
        """Context for what the first process of a machine keeps, so that the others find it."""
        if self.local_rank > 0:
            self.get(f"kept by {self.rank - self.local_rank}")
        yield
        if not self._alone:
            self.put(f"kept by {self.rank}", b"")

    @_reaching()
    def put(self, key: str, content: bytes) -> None:
        """Lay `content` down under `key`, for the others."""
        for start in range(0, len(content), _CHUNK):
            self._store.set(f"{key} {start}", content[start : start + _CHUNK])  # type: ignore[arg-type]
        self._store.set(key, str(len(content)))

    @_reaching()
    def get(self, key: str) -> bytes:
        """What another process lays down under `key`, as soon as it is there."""
        while not self.has(key):
            self._look_for_lost()
            time.sleep(0.005)
        starts = range(0, int(self._store.get(key)), _CHUNK)
        return b"".join(self._store.get(f"{key} {start}") for start in starts)

    @_reaching()
    def has(self, key: str) -> bool:
        """Whether something was laid down under `key`."""
        return bool(self._store.check([key]))

    def stop_wanted(self) -> bool:
        """Whether one of the processes was asked to stop, up to a second ago."""
        if self.size == 1 or self.stopped:
            return self.stopped or self.asked()
        if self.asked():
            self.put("stop", b"")
            self.stopped = True
        elif self._look_for_lost():
            self.stopped = self.has("stop")
        return self.stopped

    def claim(self, device: torch.device) -> None:
        """Compute on a GPU of one's own. Raises ConfigError where there is none left."""
        if self.size == 1 or device.type != "cuda":
            return
        if self.local_rank >= (count := torch.cuda.device_count()):
            raise ConfigError(
                f"--device cuda: this machine has {count} GPUs and more processes; give each one "
                f"of its own with --nproc-per-node {count}, or use --device cpu"
            )
        torch.cuda.set_device(self.local_rank)

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Tell the others how this process ends, so that they end, too, if it failed."""
        if self._alone or isinstance(error, LostError):
            return
        with suppress(LostError):
            # a typer.Exit has an exit code, too, and is no failure
            own = isinstance(error, MnistlabError)
            if error is None or (hasattr(error, "exit_code") and not own):
                self.put(f"ended {self.rank}", b"")
                return
            text, code = str(error) if own else repr(error), getattr(error, "exit_code", 1)
            if not isinstance(error, Exception):
                text, code = "stopped by a signal", getattr(error, "code", 130)
            said = {"rank": self.rank, "text": text, "code": code}
            self.put("failed", json.dumps(said).encode())
            if self.rank == 0:  # the store may be in this process: all shall have looked into it
                time.sleep(2)

    def _show_signs(self) -> None:
        with suppress(RuntimeError):
            while True:
                self._store.add(f"sign {self.rank}", 1)
                time.sleep(2)

    @_reaching()
    def _look_for_lost(self) -> bool:
        """Raise LostError if another process failed or is silent; once a second, else False."""
        now = time.monotonic()
        if now < self._looked + 1:
            return False
        self._looked = now
        if self.has("failed"):
            said = json.loads(self.get("failed"))
            error = LostError((f"process {said['rank']}: " if said["rank"] else "") + said["text"])
            error.exit_code = said["code"]
            raise error
        # the first one looks for all, and all others for the first: enough that all end
        for rank in range(1, self.size) if self.rank == 0 else [0]:
            key = f"sign {rank}"
            sign = self._store.get(key) if self.has(key) else b""
            last, since = self._signs.get(rank, (None, now))
            if sign != last:
                self._signs[rank] = (sign, now)
            elif now > since + SILENCE and not self.has(f"ended {rank}"):
                raise LostError(f"process {rank} gave no sign of life for {SILENCE:g} s")
        return True


ALONE = Team()
