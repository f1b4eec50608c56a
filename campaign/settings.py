"""Wrong settings: exit 2 with every fault at once, each by its name, before anything is made.

The cases are made from the schema of the settings itself, so that a new setting is tried as well:
values out of range, not finite, huge, empty and of other types, names nearly right; alone and
several at once, as flags, from files and both. And every value on the edge of a range is taken.
"""

import itertools
import random
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tomli_w

from campaign.commands import Outcome, surroundings
from campaign.forge import Forges, forges
from campaign.ground import wrongly_told
from campaign.images import make_folders
from campaign.schema import BESIDE, allowed, edges, in_toml, singles
from campaign.tally import CORES, Tally, side_by_side
from mnistlab.config import SETTINGS_OF_MODELS, TrainConfig, resolve
from mnistlab.errors import ConfigError

Fault = str | None

_SEED = 20_261_122


def quick(folder: Path) -> Tally:
    """A thousand combinations in this process, and some command lines, in four seconds."""
    return _try(folder, combined=1000, lines=30, workers=1, dry_runs=False)


def full(folder: Path) -> Tally:
    """Ten thousand combinations, every fault on the command line as well."""
    return _try(folder, combined=10_000, lines=1500, workers=CORES, dry_runs=True)


def _try(folder: Path, *, combined: int, lines: int, workers: int, dry_runs: bool) -> Tally:
    tally = Tally()
    chance = random.Random(_SEED)
    make_folders(folder / "images")
    for key, value in singles():
        tally.check(*_refused(folder, {key: value}, {}))
        if in_toml(value):
            tally.check(*_refused(folder, {}, {key: value}))
    for key, value in edges():
        tally.check(*_taken(folder, key, value))
    wrong = list(singles())
    for _ in range(combined):
        chosen = dict(chance.sample(wrong, chance.randint(2, 8)))
        in_file = {k: v for k, v in chosen.items() if in_toml(v) and chance.random() < 0.5}
        if chance.random() < 0.3:
            in_file |= {chance.choice(sorted(TrainConfig.model_fields))[:-1] + "q": 1}
        flags = {key: value for key, value in chosen.items() if key not in in_file}
        tally.check(*_refused(folder, flags, in_file))
    with forges(workers, light=True) as forked:
        trials = itertools.islice(_lines(folder, forked, chance), lines)
        tally.add(side_by_side(lambda trial: trial(), trials, workers))
    if dry_runs:
        with forges(workers) as forked:
            tally.add(side_by_side(lambda trial: trial(), _dry_runs(folder, forked), workers))
    return tally


def _refused(folder: Path, flags: dict[str, Any], in_file: dict[str, Any]) -> tuple[bool, str]:
    """Whether every one of these faults is told, each in a line of its own."""
    told = f"flags {flags!r:.300}, file {in_file!r:.300}"
    source = None
    if in_file:
        source = folder / "wrong.toml"
        source.write_text(tomli_w.dumps(in_file), encoding="utf-8")
    try:
        resolve(flags, None if source is None else str(source))
    except ConfigError as error:
        lines = str(error).split("\n")
    except Exception as error:
        return False, f"{told}: {type(error).__name__}: {error}"
    else:
        return False, f"{told}: taken"
    starts = [f"--{key.replace('_', '-')}: " for key in flags]
    for key in in_file:
        known = key in TrainConfig.model_fields
        starts.append(f"{key} (config " if known else f"{source}: unknown setting {key}")
    untold = [start for start in starts if not any(line.startswith(start) for line in lines)]
    if untold:
        return False, f"{told}: not told of {untold[0]}: {lines}"
    if not all(line.isprintable() and len(line) < 1000 for line in lines):
        return False, f"{told}: a line that moves the cursor or has no end"
    return True, ""


def _taken(folder: Path, key: str, value: Any) -> tuple[bool, str]:
    """Whether a value on the edge is taken, beside the settings that give it a meaning."""
    beside: dict[str, Any] = BESIDE.get(key, {})
    if key in SETTINGS_OF_MODELS:
        beside = {"model": SETTINGS_OF_MODELS[key][0]}
    source = folder / "edge.toml"
    source.write_text(tomli_w.dumps({key: value}), encoding="utf-8")
    try:
        by_flag = resolve({**beside, key: value}).config
        by_file = resolve(beside, str(source)).config
    except ConfigError as error:
        return False, f"{key} = {value!r}: refused: {error}"
    same = getattr(by_flag, key) == value == getattr(by_file, key)
    return same, f"{key} = {value!r}: taken as {getattr(by_flag, key)!r}"


def _lines(folder: Path, forked: Forges, chance: random.Random) -> Iterator[Callable[[], Fault]]:
    """Wrong command lines: several wrong values in turn with a flag that is nearly right."""
    flagged = [
        (key, str(value))
        for key, value in singles()
        if isinstance(value, int | float | str)
        and TrainConfig.model_fields[key].annotation is not bool
    ]
    flagged = [(key, text) for key, text in flagged if _stays_wrong(key, text)]
    near = list(_near_flags())
    for number in itertools.count():
        chosen = dict(chance.sample(flagged, chance.randint(1, 5)))
        yield partial(_line, folder, forked, chosen)
        yield partial(_near_flag, folder, forked, *near[number * 7 % len(near)])


def _stays_wrong(key: str, text: str) -> bool:
    """Whether what is wrong as a value is wrong as a text as well: `--lr 1` is not."""
    annotation = TrainConfig.model_fields[key].annotation
    value: Any = text
    if annotation in (int, float) or key in ("order_seed", "channels"):
        try:
            value = float(text) if annotation is float else int(text)
        except ValueError:
            value = text
        value = [value] if key == "channels" else value
    # a process cannot be given a null byte or half a character
    return not allowed(annotation, key, value) and "\0" not in text


def _run(folder: Path, forked: Forges, *arguments: str) -> Outcome:
    cwd = folder / "empty"
    cwd.mkdir(exist_ok=True)
    return forked.run(*arguments, cwd=cwd, env=surroundings(folder), missing=["torch"])


def _line(folder: Path, forked: Forges, chosen: dict[str, str]) -> Fault:
    flags = [f"--{key.replace('_', '-')}" for key in chosen]
    arguments = [f"{flag}={text}" for flag, text in zip(flags, chosen.values(), strict=True)]
    ended = _run(folder, forked, "train", *arguments)
    told = f"train {' '.join(arguments)!r:.300}: "
    if fault := wrongly_told(ended, 2):
        return told + fault
    lines = ended.err.removeprefix("error: ").splitlines()
    for flag in flags:
        if not any(line.startswith(f"{flag}: ") for line in lines):
            return f"{told}not told of {flag}: {lines}"
    made = any((folder / "empty").iterdir())
    return f"{told}something was made or printed" if made or ended.out else None


def _near_flags() -> Iterator[tuple[tuple[str, ...], str, set[str]]]:
    """Every command with every flag of it but for its last letter, and the flags there are."""
    from typer.main import get_command

    from mnistlab.cli.app import app

    waiting: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    for names, one in waiting:
        waiting += [((*names, name), more) for name, more in getattr(one, "commands", {}).items()]
        flags = {flag for param in one.params for flag in (*param.opts, *param.secondary_opts)}
        for flag in sorted(flags):
            if flag.startswith("--") and len(flag) > 4 and flag[:-1] not in flags:
                yield names, flag[:-1], flags


def _near_flag(
    folder: Path, forked: Forges, names: tuple[str, ...], wrong: str, flags: set[str]
) -> Fault:
    ended = _run(folder, forked, *names, wrong)
    told = f"{' '.join(names)} {wrong}: "
    if fault := wrongly_told(ended, 2, f"No such option.*{re.escape(wrong)}"):
        return told + fault
    return None if any(flag in ended.err for flag in flags - {"--help"}) else f"{told}no near flag"


def _dry_runs(folder: Path, forked: Forges) -> Iterable[Callable[[], Fault]]:
    """Edges on the command line, up to the model and the data."""
    for key, value in edges():
        # what only other models have costs memory, and these images are of two classes
        if key in SETTINGS_OF_MODELS or key in ("device", "seeds"):
            continue
        if value in ("cnn", "cross-entropy") or key == "data":
            continue
        flag = key.replace("_", "-")
        words = [f"--{flag}={value}"]
        if isinstance(value, bool):
            words = [f"--{flag}" if value else f"--no-{flag}"]
        if words != ["--no-skip-bad"]:
            words += [f"--{name}={given}" for name, given in BESIDE.get(key, {}).items()]
            yield partial(_dry_run, folder, forked, words)


def _dry_run(folder: Path, forked: Forges, words: list[str]) -> Fault:
    data = ("--data", folder / "images")
    env = surroundings(folder)
    fault = wrongly_told(forked.run("train", "-n", *data, *words, cwd=folder, env=env), 0)
    return fault and f"train --dry-run {' '.join(words)}: {fault}"
