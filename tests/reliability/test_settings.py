"""Wrong settings: exit 2 with every fault at once, each by its name, before anything is made.

The cases come from the JSON schema of the settings, so that a new setting is tried as well: values
out of range, not finite, huge, empty and of other types, names nearly right; alone and several at
once, as flags, from files and both. And every value on the edge of a range is accepted.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from pathlib import Path
from random import Random
from typing import Any, cast

import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mnistlab.config import TrainConfig, device_name
from tests.command import run_in_process
from tests.conftest import Examples
from tests.reliability.conftest import Tally
from tests.reliability.runs import all_commands, make_folders

SCHEMA: dict[str, dict[str, Any]] = TypeAdapter(TrainConfig).json_schema()["properties"]
RULES: dict[str, TypeAdapter[Any]] = {
    one.name: TypeAdapter(cast(Any, one.type), config={"strict": True})
    for one in fields(TrainConfig)
}
ODD: tuple[Any, ...] = (
    *(True, 0, -1, 1, 3, 2**63, 2**64, -(2**63), 10**40, 1e39, -0.5, 1.5, 5e-324, 1e308),
    *(math.nan, math.inf, -math.inf, "", " ", "1", "0x10", "1e400", "nan", "-inf", "true"),
    *("x" * 5000, "日本", "\x1b[2J", "a\nb", [], [0], [[1]], ["x"], [1] * 100, {}, {"a": 1}),
    date(2026, 1, 1),
)
# Beside a setting, what gives it a meaning.
BESIDE: dict[str, tuple[str, ...]] = {
    "distance": ("--model=pixel-similarity",),
    "hidden": ("--model=two-layer",),
    **dict.fromkeys(
        ("depth", "batch_norm", "kernel", "stride", "cosines"),
        ("--model=cnn", "--padding", "--channels=4"),
    ),
    "padding": ("--model=cnn", "--channels=4"),
    "momentum": ("--optimizer=momentum",),
    "beta2": ("--optimizer=adam",),
    "weight_decay": ("--optimizer=adamw",),
    "warmup": ("--schedule=one-cycle",),
}


def allowed(key: str, value: Any) -> bool:
    """Whether the type and the range of a setting allow `value`."""
    try:
        RULES[key].validate_python(value)
    except ValidationError:
        return False
    return not isinstance(value, float) or math.isfinite(value)


def edges_of(schema: dict[str, Any]) -> Iterator[Any]:
    """Every name that a setting may have, and the last values within and the first beyond its
    range."""
    for one in schema.get("anyOf", ()):
        yield from edges_of(one)
    yield from schema.get("enum", ())
    if schema.get("type") == "boolean":
        yield from (True, False)
    for key, sign in (("minimum", -1), ("maximum", 1)):
        for exclusive in (False, True):
            bound = schema.get(f"exclusive{key.capitalize()}" if exclusive else key)
            if bound is None:
                continue
            if schema["type"] == "integer":
                yield from (bound - sign, bound, bound + sign)
            else:
                yield float(bound)
                yield from (math.nextafter(bound, way * math.inf) for way in (-1, 1))


WRONG = [
    (key, value)
    for key, schema in SCHEMA.items()
    for value in (*ODD, *(name[:-1] for name in schema.get("enum", ())), *edges_of(schema))
    if not allowed(key, value)
    # what others call a GPU is a name of it
    if key != "device" or device_name(value) not in schema["enum"]
]
# Allowed, but not for small images of two classes on any machine.
ELSEWHERE = [
    *(("loss", "cross-entropy"), ("model", "cnn"), ("device", "cuda"), ("device", "mps")),
    *(("layout", "classes"), ("layout", "table"), ("fit", "ink")),
    *(("folds", 1), ("folds", 999), ("folds", 1000), ("micro_batches", 4095)),
]
EDGES = [
    (key, value)
    for key, schema in SCHEMA.items()
    for value in edges_of(schema)
    if allowed(key, value) and (key, value) not in ELSEWHERE
]


WITH_FLAG = {param.name for param in dict(all_commands())["train",].params}


def wrong_as_text(key: str, value: Any) -> bool:
    """Whether what is wrong as a value is wrong as the text of a flag as well: `--lr 1` is not."""
    if (
        key not in WITH_FLAG
        or SCHEMA[key].get("type") == "boolean"
        or isinstance(value, bool | list | dict | date)
    ):
        return False
    texts: list[Any] = [str(value)]
    for number in (int, float):
        try:
            texts += [number(str(value)), [number(str(value))]]
        except ValueError:
            continue
    return not any(allowed(key, one) for one in texts)


def in_toml(value: Any) -> bool:
    try:
        tomli_w.dumps({"key": value})
    except (TypeError, ValueError):
        return False
    return True


FLAGS = [(key, str(value)) for key, value in WRONG if wrong_as_text(key, value)]
IN_FILE = [(key, value) for key, value in WRONG if in_toml(value)]


def fault_of(flags: dict[str, str], in_file: dict[str, Any]) -> str:
    """What is wrong with how `train` refuses these; empty if every one of them is named."""
    arguments = [f"--{key.replace('_', '-')}={text}" for key, text in flags.items()]
    if in_file:
        Path("wrong.toml").write_text(tomli_w.dumps(in_file), encoding="utf-8")
        arguments += ["--config", "wrong.toml"]
    before = sorted(Path().iterdir())
    ended = run_in_process("train", *arguments)
    lines = ended.err.removeprefix("error: ").splitlines()
    starts = [f"--{key.replace('_', '-')}: " for key in flags]
    starts += [f"{key} (" if key in SCHEMA else "wrong.toml: " for key in in_file]
    fault = ""
    if ended.code != 2 or ended.out or "Traceback" in ended.err:
        fault = f"exit {ended.code}, {ended.out[-300:]} {ended.err[-300:]}"
    elif unnamed := [one for one in starts if not any(line.startswith(one) for line in lines)]:
        fault = f"{unnamed} not named: {lines}"
    elif not all(line.isprintable() and len(line) < 1000 for line in lines):
        fault = "a line that moves the cursor or has no end"
    elif sorted(Path().iterdir()) != before:
        fault = "something was made"
    return fault and f"flags {flags!r:.300}, file {in_file!r:.300}: {fault}"


def test_every_wrong_value_is_refused_by_the_name_of_its_setting(
    tally: Tally, examples: Examples
) -> None:
    chance = Random(1)
    for key, text in chance.sample(FLAGS, min(examples(12, 10**6), len(FLAGS))):
        tally.check(f"--{key}", fault_of({key: text}, {}))
    for key, value in chance.sample(IN_FILE, min(examples(12, 10**6), len(IN_FILE))):
        tally.check(key, fault_of({}, {key: value}))


def test_all_wrong_values_are_named_at_once(tally: Tally) -> None:
    some = st.integers(0, 5)

    @settings.get_profile("reliability")
    @given(st.randoms(use_true_random=False), some, some, st.booleans())
    def refused(chance: Random, flag_count: int, key_count: int, unknown: bool) -> None:
        flags = dict(chance.sample(FLAGS, flag_count))
        in_file = dict(chance.sample(IN_FILE, key_count))
        in_file = {key: value for key, value in in_file.items() if key not in flags}
        if unknown or not (flags or in_file):
            in_file[f"{chance.choice(sorted(SCHEMA))[:-1]}q"] = 1
        tally.check("together", fault_of(flags, in_file))

    refused()


def test_every_value_on_an_edge_is_accepted(tally: Tally, examples: Examples) -> None:
    make_folders(Path("data"), side=8)
    cases = [(key, value, by_flag) for key, value in EDGES for by_flag in (True, False)]
    cases = [case for case in cases if case[0] in WITH_FLAG or not case[2]]
    for key, value, by_flag in Random(2).sample(cases, min(examples(8, 10**6), len(cases))):
        name = key.replace("_", "-")
        arguments = [f"--{name}={value}"]
        if isinstance(value, bool):
            arguments = [f"--{name}" if value else f"--no-{name}"]
        if not by_flag or arguments == ["--no-skip-bad"]:
            Path("edge.toml").write_text(tomli_w.dumps({key: value}), encoding="utf-8")
            arguments = ["--config", "edge.toml"]
        beside = (*BESIDE.get(key, ()), "--data", "data")
        ended = run_in_process("train", "--dry-run", "--json", *beside, *arguments)
        fault = f"exit {ended.code}: {ended.err}"
        if ended.code == 0:
            accepted = ended.json["settings"][key]["value"]
            chosen = value in ("auto", 0)  # mnistlab chooses, and says what
            fault = "" if accepted == value or chosen else f"accepted as {accepted!r}"
        tally.check(f"{key} = {value!r}", fault)


def test_a_flag_that_is_nearly_right_is_refused_with_the_right_one(
    tally: Tally, examples: Examples
) -> None:
    wrong = [
        (names, flag[:-1], flags)
        for names, command in all_commands()
        for flags in [{flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}]
        for flag in sorted(flags)
        if flag.startswith("--") and len(flag) > 4 and flag[:-1] not in flags
    ]
    for names, near, flags in Random(7).sample(wrong, min(examples(10, 10**6), len(wrong))):
        ended = run_in_process(*names, near)
        fault = "" if ended.code == 2 and near in ended.err else f"exit {ended.code}: {ended.err}"
        if not any(re.search(rf"{flag}\b", ended.err) for flag in flags - {"--help"}):
            fault = f"no right one is named: {ended.err}"
        tally.check(f"{' '.join(names)} {near}", fault)
