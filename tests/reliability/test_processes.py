"""Several processes end with the weights of one, whichever of them is killed, stopped or cut off.

Most are forks that are told what torchrun tells its workers. torchrun itself starts those of the
last tests, which take long; two hosts are two network namespaces.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.command import Result
from tests.conftest import Examples
from tests.reliability.processes import KILLED, Process, Server
from tests.reliability.runs import (
    broken_file,
    environment,
    fault_of_message,
    left_over,
    make_folders,
    only_run,
)

LIMIT = 30.0  # seconds in which all have ended, after one has


class Launcher:
    """Starts the processes of a training, as torchrun does: once, and again after a kill."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self.attempt = server, folder, 0
        self.data = make_folders(folder / "data", images=40)
        self.runs = folder / "runs"

    def start(self, size: int, *arguments: str, **of_first: Any) -> list[Process]:
        """Start `mnistlab train` in as many processes; `of_first`: options of the first one."""
        port = free_port()
        words = ("train", "--data", str(self.data), "--run-dir", str(self.runs), *arguments)
        return [
            self.server.start(
                *words,
                cwd=self.folder,
                env=self.env(rank, size, port),
                **(of_first if rank == 0 else {}),
            )
            for rank in range(size)
        ]

    def env(self, rank: int, size: int, port: int) -> dict[str, str]:
        launch = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "TORCHELASTIC_RUN_ID": "launch",
        }
        return environment(self.folder, **{key: str(value) for key, value in launch.items()})

    def run(self, size: int, *arguments: str) -> list[Result]:
        return finish(self.start(size, *arguments))

    def alone(self, *arguments: str) -> dict[str, Any]:
        """The record of the run that one process trains, with as many parts."""
        runs = self.folder / "alone"
        shutil.rmtree(runs, ignore_errors=True)
        words = ("train", "--data", str(self.data), "--run-dir", str(runs), *arguments)
        self.server.run(*words, cwd=self.folder, env=environment(self.folder)).ok()
        return record_in(runs)


@pytest.fixture
def launcher(server: Server, tmp_path: Path) -> Launcher:
    return Launcher(server, tmp_path)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def finish(processes: Sequence[Process]) -> list[Result]:
    """The results of all; whatever still runs `LIMIT` seconds after the first has ended hangs."""
    while all(process.running() for process in processes):
        time.sleep(0.01)
    end = time.monotonic() + LIMIT
    for process in processes:
        while process.running() and time.monotonic() < end:
            time.sleep(0.01)
        if process.running():
            process.send(signal.SIGKILL)
            pytest.fail("a process hangs")
    return [process.finish() for process in processes]


def record_in(runs: Path) -> dict[str, Any]:
    run = only_run(runs)
    assert run is not None
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    return record


def outcome(record: dict[str, Any]) -> Any:
    """What must be equal: weights, figures; of several models those of each."""
    result = record["result"]
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result["epochs"]]
    keys = ("weights_sha256", "accuracy", "best", "summary", "seeds", "folds")
    return rows, {key: result.get(key) for key in keys}


def only_the_first_speaks(results: Sequence[Result]) -> None:
    assert [result.out + result.err for result in results[1:]] == [""] * (len(results) - 1)


# 13 images in a batch and 8 parts: two images in most, one in some, and 2 in the last batch
MODELS = {
    "linear": ("--optimizer", "momentum", "--micro-batches", "8"),
    "two-layer": ("--optimizer", "adamw", "--label-smoothing", "0.1", "--loss", "bce"),
    "cnn": ("--channels", "4,4", "--padding", "--batch-norm", "--augment", "--class-weights",
            "balanced", "--hidden", "4", "--keep", "best"),
    "resnet18": ("--precision", "fp32", "--epochs", "1"),
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_weights_and_figures_are_equal_for_any_number(
    model: str, launcher: Launcher, examples: Examples
) -> None:
    if model == "resnet18" and not examples(0, 1):
        pytest.skip("takes long; for the campaign: make campaign")
    words = ("--model", model, "--epochs", "2", "--batch-size", "13", *MODELS[model])
    alone = launcher.alone(*words, "--micro-batches", "8")
    for size in (2, 4, 3, 8)[: examples(2, 4)]:
        results = [process.finish() for process in launcher.start(size, *words)]
        assert [result.code for result in results] == [0] * size, results[0].err
        only_the_first_speaks(results)
        together = record_in(launcher.runs)
        assert together["launch"] == "launch"
        assert outcome(together) == outcome(alone), size
        shutil.rmtree(launcher.runs)
    assert left_over(launcher.folder) == ""


SLOW = ("--model", "two-layer", "--epochs", "12", "--batch-size", "8")


@pytest.mark.trials(3, 30)
def test_one_is_killed_and_all_start_again(trial: int, launcher: Launcher) -> None:
    chance, alone = Random(trial), launcher.alone(*SLOW, "--micro-batches", "8")
    size = chance.choice([2, 2, 4])
    results, victim = list[Result](), 0
    while not results or results[victim].code != KILLED:  # where not, it was faster
        shutil.rmtree(launcher.runs, ignore_errors=True)
        processes = launcher.start(size, *SLOW)
        victim = chance.randrange(size)
        if trial % 5 != 4:  # else while they still look for each other
            processes[victim].wait_until(lambda: only_run(launcher.runs) is not None)
        time.sleep(chance.random() * 0.3)
        processes[victim].send(signal.SIGKILL)
        results = finish(processes)
    survivors = [result for rank, result in enumerate(results) if rank != victim]
    assert all(result.code in (0, 1) for result in survivors), results[0].err
    only_the_first_speaks(results)
    if victim != 0 and results[0].code == 1:
        assert results[0].err.count("error:") == 1
        assert "process" in results[0].err
    if (run := only_run(launcher.runs)) is not None:
        assert broken_file(run) == ""
    # torchrun would do the same; and with another number of processes
    done = [] if run is None else [record_in(launcher.runs)["status"] == "done"]
    if not any(done):
        results = launcher.run(chance.choice([1, 2, 4]), *SLOW)
        assert results[0].code == 0, results[0].err
    assert outcome(record_in(launcher.runs)) == outcome(alone)


@pytest.mark.trials(2, 12)
def test_a_stop_is_agreed_on_and_resumed(trial: int, launcher: Launcher) -> None:
    alone, chance = launcher.alone(*SLOW, "--micro-batches", "8"), Random(trial)
    processes = launcher.start(2, *SLOW)
    processes[0].wait_until(lambda: only_run(launcher.runs) is not None)
    time.sleep(chance.random() * 0.2)
    # to all, as the launcher does, or to one of them
    for process in processes if trial % 2 else processes[1:]:
        process.send(signal.SIGTERM)
    results = finish(processes)
    only_the_first_speaks(results)
    codes = {result.code for result in results}
    assert codes in ({143}, {0}), results[0].err
    if codes == {143}:
        assert results[0].err.count("all is saved") == 1
        run = only_run(launcher.runs)
        assert run is not None
        assert broken_file(run) == ""
        results = launcher.run(4, "--resume", run.name)[:1] if trial % 2 else launcher.run(1, *SLOW)
        assert results[0].code == 0, results[0].err
    assert outcome(record_in(launcher.runs)) == outcome(alone)


@pytest.mark.parametrize("kind", ["seeds", "folds"])
def test_models_are_shared_out_and_an_interrupted_study_goes_on(
    kind: str, launcher: Launcher
) -> None:
    words = ("--model", "two-layer", "--epochs", "6", "--batch-size", "8", f"--{kind}", "5")
    alone = launcher.alone(*words)
    [undisturbed] = (launcher.folder / "alone").iterdir()
    folds = (undisturbed / "folds.csv").read_bytes() if kind == "folds" else b""
    results = launcher.run(3, *words)
    assert [result.code for result in results] == [0] * 3, results[0].err
    only_the_first_speaks(results)
    assert len(results[0].out.splitlines()) == 1 + 5 + 3
    assert outcome(record_in(launcher.runs)) == outcome(alone)
    shutil.rmtree(launcher.runs)
    # killed once it has two models
    processes = launcher.start(2, *words)
    processes[0].wait_until(lambda: len([*launcher.runs.glob("*/models/*.safetensors")]) > 1)
    for process in processes:
        process.send(signal.SIGKILL)
    finish(processes)
    run = only_run(launcher.runs)
    assert run is not None
    kept = {path.name: path.read_bytes() for path in (run / "models").iterdir()}
    assert 2 <= len(kept) < 5
    again = launcher.run(2, *words)[0].ok()
    assert len(again.out.splitlines()) == 1 + 5 + 3
    assert outcome(record_in(launcher.runs)) == outcome(alone)
    assert not (run / "models").exists()
    if kind == "folds":
        assert (run / "folds.csv").read_bytes() == folds


def test_one_has_other_data_or_settings(launcher: Launcher) -> None:
    make_folders(launcher.folder / "other", images=41)
    for what, own in {"data": ("--data", "other"), "lr": ("--data", "data", "--lr", "0.3")}.items():
        port = free_port()
        results = finish(
            [
                launcher.server.start(
                    *("train", "--run-dir", "runs", *(own if rank else ("--data", "data"))),
                    cwd=launcher.folder,
                    env=launcher.env(rank, 2, port),
                )
                for rank in range(2)
            ]
        )
        assert [result.code for result in results] == [2, 2], results[0].err
        only_the_first_speaks(results)
        assert fault_of_message(results[0], 2, f"process 1 has another {what} than process 0") == ""
        assert not launcher.runs.exists()


def test_the_disk_of_the_first_is_full(launcher: Launcher) -> None:
    results = finish(launcher.start(2, *SLOW, "--hidden", "3000", file_bytes=100_000))
    assert [result.code for result in results] == [1, 1], results[0].err
    only_the_first_speaks(results)
    assert results[0].err.count("error:") == 1
    assert "File too large" in results[0].err


def test_one_runs_out_of_something(launcher: Launcher) -> None:
    # an own optimizer that fails in the second process alone
    own = launcher.folder / "own.py"
    own.write_text(
        "import os\n\n\nclass Failing:\n"
        "    def __init__(self, params, lr):\n        self.params = list(params)\n\n"
        "    def step(self):\n"
        "        if os.environ['RANK'] == '1':\n            raise MemoryError('enough')\n\n"
        "    def zero_grad(self):\n"
        "        for param in self.params:\n            param.grad = None\n"
    )
    results = launcher.run(2, "--optimizer", f"{own}:Failing", "--epochs", "2")
    assert [result.code for result in results] == [1, 1], results[0].err
    only_the_first_speaks(results)
    assert "process 1: " in results[0].err


def test_one_is_stopped_before_it_trains(launcher: Launcher) -> None:
    # the first is still busy when the second, which waits for it, gets the signal
    own = launcher.folder / "own.py"
    own.write_text(
        "import os, pathlib, time\n\nimport torch\n\n"
        "if os.environ['RANK'] == '0':\n    time.sleep(4)\n"
        "else:\n    pathlib.Path('imported').touch()\n\n\n"
        "class Own(torch.optim.SGD):\n    pass\n"
    )
    processes = launcher.start(2, "--optimizer", f"{own}:Own")
    processes[1].wait_until((launcher.folder / "imported").exists)
    time.sleep(1)
    processes[1].send(signal.SIGTERM)
    results = finish(processes)
    assert [result.code for result in results] == [143, 143], results[0].err
    only_the_first_speaks(results)
    assert results[0].err == "error: process 1: stopped by a signal\n"
    assert not launcher.runs.exists()


REFUSED = {
    "a power of two": (2, "--micro-batches", "3"),
    "8 processes for 4 images in a batch: start at most 4": (8, "--batch-size", "4"),
    "4 processes for 2 micro-batches": (4, "--micro-batches", "2"),
    "3 processes for 2 models: start at most 2, or raise --seeds": (
        *(3, "--seeds", "2", "--model", "two-layer"),
    ),
    "pixel-similarity is fitted": (2, "--model", "pixel-similarity"),
    "threads: 1": (2, "--threads", "2"),
    "no such device here|more processes": (2, "--device", "cuda"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_shared_is_refused_once(message: str, launcher: Launcher) -> None:
    size, *words = REFUSED[message]
    results = launcher.run(int(size), *map(str, words))
    assert [result.code for result in results] == [2] * int(size), results[0].err
    only_the_first_speaks(results)
    assert fault_of_message(results[0], 2, message) == ""
    assert not launcher.runs.exists()


@pytest.mark.parametrize("missing", ["WORLD_SIZE", "MASTER_PORT"])
def test_a_rank_set_by_hand(missing: str, launcher: Launcher) -> None:
    env = launcher.env(0, 2, 1)
    del env[missing]
    result = launcher.server.run("train", cwd=launcher.folder, env=env)
    assert (
        fault_of_message(result, 2, f"not {missing}; start several processes with torchrun") == ""
    )


def test_the_port_is_in_use(launcher: Launcher) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        env = launcher.env(0, 2, taken.getsockname()[1])
        started = time.monotonic()
        result = launcher.server.run("train", cwd=launcher.folder, env=env)
    assert fault_of_message(result, 1, "could not reach the others.*(in use|EADDRINUSE)") == ""
    assert time.monotonic() - started < LIMIT


def test_more_processes_than_can_share_one_model(launcher: Launcher) -> None:
    results = launcher.run(3, "--epochs", "1")
    assert [result.code for result in results] == [0] * 3, results[0].err
    assert "3 processes were started; 2 can share this work" in results[0].err


def test_what_was_done_when_a_process_was_killed_is_not_trained_again(launcher: Launcher) -> None:
    launcher.run(2, "--epochs", "2")[0].ok()
    before = record_in(launcher.runs)
    env = launcher.env(0, 1, 1) | {"TORCHELASTIC_RESTART_COUNT": "1"}
    words = ("train", "--data", "data", "--run-dir", "runs", "--epochs", "2")
    again = launcher.server.run(*words, cwd=launcher.folder, env=env).ok()
    assert "all 2 epochs are done already" in again.err
    assert record_in(launcher.runs) == before


def test_other_commands_are_done_once(launcher: Launcher) -> None:
    words = ("baseline", "pixel-similarity", "--data", str(launcher.data))
    results = [
        launcher.server.run(*words, cwd=launcher.folder, env=launcher.env(rank, 2, 1))
        for rank in range(2)
    ]
    assert "accuracy" in results[0].ok().out
    assert (results[1].code, results[1].out, results[1].err) == (0, "", "")


# torchrun itself


Started = list["subprocess.Popen[bytes]"]


@pytest.fixture
def launched() -> Iterator[Started]:
    """What `torchrun` started: it ends with the test, if not before."""
    started: Started = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def torchrun(
    launched: Started, launcher: Launcher, *flags: str, words: Sequence[str], inside: str = ""
) -> "subprocess.Popen[bytes]":
    env = environment(launcher.folder, PYTHONWARNINGS="ignore")
    if inside:
        env["GLOO_SOCKET_IFNAME"] = f"to-{inside}"
    command = ["ip", "netns", "exec", inside] if inside else []
    command += [sys.executable, "-m", "torch.distributed.run", *flags, "-m", "mnistlab", "train"]
    command += ["--data", str(launcher.data), "--run-dir", str(launcher.runs), *words]
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    launched.append(subprocess.Popen(command, env=env, cwd=launcher.folder, **streams))
    return launched[-1]


def first_save(launcher: Launcher, launched: Started) -> None:
    """Wait until the run has saved its first epoch."""
    end = time.monotonic() + 120
    while not any(launcher.runs.glob("*/metrics.csv")):
        time.sleep(0.02)
        assert time.monotonic() < end
        assert all(one.poll() is None for one in launched), launched[0].communicate()[0].decode()


def workers_of(started: "subprocess.Popen[bytes]") -> dict[int, int]:
    """The processes that a launcher has started: rank → process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == started.pid:
                pairs = (
                    pair.partition("=") for pair in (folder / "environ").read_text().split("\0")
                )
                found[int({key: value for key, _, value in pairs}["RANK"])] = int(folder.name)
        except (OSError, KeyError, IndexError):
            continue
    return found


def test_torchrun_starts_all_again(launcher: Launcher, launched: Started) -> None:
    words = ("--model", "two-layer", "--epochs", "150", "--batch-size", "4")
    alone = launcher.alone(*words, "--micro-batches", "8")
    flags = ("--nproc-per-node", "2", "--max-restarts", "1")
    started = torchrun(launched, launcher, *flags, words=words)
    first_save(launcher, launched)
    os.kill(workers_of(started)[1], signal.SIGKILL)
    text = started.communicate(timeout=120)[0].decode()
    assert started.returncode == 0, text
    assert text.count("error:") == 1, text
    assert outcome(record_in(launcher.runs)) == outcome(alone)


@pytest.fixture
def two_hosts(examples: Examples) -> Iterator[tuple[str, str]]:
    """Two network namespaces, joined by a cable; the first has the address 10.77.0.1."""
    if not examples(0, 1):
        pytest.skip("two hosts are for the campaign: make campaign")
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the command ip")
    hosts = ("mnistlab-a", "mnistlab-b")
    try:
        for host in hosts:
            made = subprocess.run(["ip", "netns", "add", host], capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
        cable = ["ip", "link", "add", "to-mnistlab-a", "netns", hosts[0], "type", "veth"]
        subprocess.run([*cable, "peer", "to-mnistlab-b", "netns", hosts[1]], check=True)
        for number, host in enumerate(hosts, start=1):
            inside = ["ip", "-n", host]
            address = ["addr", "add", f"10.77.0.{number}/24", "dev", f"to-{host}"]
            subprocess.run([*inside, *address], check=True)
            for link in ("lo", f"to-{host}"):
                subprocess.run([*inside, "link", "set", link, "up"], check=True)
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "delete", host], capture_output=True)


def host_flags(number: int) -> list[str]:
    # torchrun compares names of machines to find out where its store is, and here both have one
    conf = f"last_call_timeout=8,is_host={int(number == 1)}"
    return ["--local-addr", f"10.77.0.{number}", "--rdzv-conf", conf]


def test_two_hosts_and_one_of_them_leaves(
    launcher: Launcher, launched: Started, two_hosts: tuple[str, str]
) -> None:
    words = ("--model", "two-layer", "--epochs", "60", "--batch-size", "8")
    alone = launcher.alone(*words, "--micro-batches", "8")
    flags = [
        *("--nnodes", "1:2", "--nproc-per-node", "2", "--max-restarts", "3"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "10.77.0.1:29511", "--rdzv-id", "both"),
    ]
    hosts = [
        torchrun(launched, launcher, *flags, *host_flags(n), words=words, inside=host)
        for n, host in enumerate(two_hosts, start=1)
    ]
    first_save(launcher, launched)
    hosts[1].send_signal(signal.SIGTERM)
    hosts[1].communicate(timeout=120)
    text = hosts[0].communicate(timeout=240)[0].decode()
    assert "in each of 4 processes" in text, text
    assert "in each of 2 processes" in text, text
    assert hosts[0].returncode == 0, text
    assert outcome(record_in(launcher.runs)) == outcome(alone)


def test_the_cable_between_two_hosts_breaks(
    launcher: Launcher, launched: Started, two_hosts: tuple[str, str]
) -> None:
    words = ("--model", "two-layer", "--epochs", "2000", "--batch-size", "8")
    flags = [
        *("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", "10.77.0.1:29512", "--rdzv-id", "cut"),
    ]
    hosts = [
        torchrun(launched, launcher, *flags, *host_flags(n), words=words, inside=host)
        for n, host in enumerate(two_hosts, start=1)
    ]
    first_save(launcher, launched)
    first = workers_of(hosts[0])[0]
    cut = time.monotonic()
    subprocess.run(["ip", "-n", two_hosts[0], "link", "set", f"to-{two_hosts[0]}", "down"])
    while Path(f"/proc/{first}").exists():
        time.sleep(0.1)
        assert time.monotonic() - cut < LIMIT
    for host in hosts:
        host.send_signal(signal.SIGTERM)
    text = hosts[0].communicate(timeout=60)[0].decode()
    assert "gave no sign of life" in text, text
    assert record_in(launcher.runs)["status"] == "stopped"
