"""The flags: those of every command, those that several share, and those of the settings.

The flags of the settings are made from the fields of `TrainConfig`, which have the help, the type
and the default. Completion in the shell needs no torch.
"""

import contextlib
import inspect
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer

from mnistlab import own_code
from mnistlab.cli.output import Output
from mnistlab.config import (
    MODEL_DEFAULTS,
    MODEL_SETTINGS,
    SETTINGS,
    TYPES,
    TrainConfig,
    choices_of,
    flag_of,
)
from mnistlab.data.datasets import NAMED
from mnistlab.errors import MnistlabError
from mnistlab.files import require_file, require_packages
from mnistlab.language import use_language
from mnistlab.names import printable
from mnistlab.resolving import presets, resolve
from mnistlab.runs import DEFAULT_FOLDER, list_runs
from mnistlab.system import quoted


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Runs in `--run-dir` whose name begins like this, the latest first."""
    names = ["latest"]
    with contextlib.suppress(MnistlabError):  # a completion cannot show an error
        folder = Path(ctx.params.get("run_dir") or DEFAULT_FOLDER)
        names += [run.name for run in reversed(list_runs(folder))]
    return [name for name in names if name.startswith(incomplete)]


def complete_from(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """A completion: those of `names()` that begin like what was typed."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def run_argument(**more: Any) -> Any:
    """The argument that names a run."""
    text = "A run folder, its name, or latest."
    return typer.Argument(metavar="RUN", help=text, autocompletion=complete_runs, **more)


def output_file(
    *endings: str, names: Sequence[str] = (), packages: Sequence[str] = (), **option: Any
) -> Any:
    """The option of a file to write; before any work it is refused if it cannot be made."""

    def checked(param: typer.CallbackParam, path: Path | None) -> Path | None:
        if path is not None:
            require_file(path, endings, param.opts[-1])
            require_packages(param.opts[-1], *packages)
        return path

    return typer.Option(*names, metavar="FILE", callback=checked, **option)


RunArgument = Annotated[str, run_argument()]
RunArguments = Annotated[list[str], run_argument()]
RunDir = Annotated[Path, typer.Option(metavar="DIR", help="The folder that holds the run folders.")]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|PRESET",
        help="Settings from a TOML file or a preset.",
        autocompletion=complete_from(presets),
    ),
]
Split = Annotated[str, typer.Option(metavar="train|valid", help="Which images to score.")]
Best = Annotated[
    bool, typer.Option("--best", help="The best weights of the run instead of the last.")
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Refuse if torch, machine or threads are not those of the run (exit 2)."
    ),
]
MinAccuracy = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        min=0,
        max=1,
        help="Exit with 3 if the accuracy (of several seeds: the mean) is below X (0 to 1).",
    ),
]
OUTPUT = ("--output", "-o")
Csv = Annotated[Path | None, output_file("csv", help="Write every prediction to a CSV file.")]
_DRAWN = output_file(
    *("png", "svg", "pdf"),
    packages=["matplotlib"],
    help="Also draw it into a file (PNG, SVG, PDF).",
)
Plot = Annotated[Path | None, _DRAWN]

Digits = Annotated[
    Literal["two", "all"] | None, typer.Option(help="3 and 7, or all ten (MNIST).  [default: two]")
]

# The commands, and the file of several, that speak Chinese as well.
SPEAKING = {"exercise", "lesson", "reproduce", "report", "play"}
WRITES_PAGE = {"report", "play"}  # whose texts are in the page, not in what --json prints

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_METAVARS = {
    "data": "NAME|DIR",
    "valid": "DIR",
    "model_set": "KEY=VALUE",
    "exclude": "FILE",
    "from_run": "RUN",
    "image_size": "N|HxW",
    "order_seed": "N|own",
}


def _output(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the result: no progress, no notices.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    color: Annotated[
        Literal["auto", "always", "never"],
        typer.Option("--color", help="When to colour the output.", case_sensitive=False),
    ] = "auto",
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run code of others that a run or config holds.")
    ] = False,
    lang: Annotated[
        str | None,
        typer.Option(metavar="en|zh", help="English or Chinese.  [default: as the system says]"),
    ] = None,
) -> Output:
    """The output of a command, by the flags that commands share; others see to `debug`, `lang`."""
    out = Output(as_json=as_json, quiet=quiet, color=color)
    own_code.tell = out.notice if trust_code else None
    return out


def command(
    app: typer.Typer, name: str, function: Callable[..., None], settings: Sequence[str] = ()
) -> None:
    """Register `function` as the command `name` of `app`.

    The function gets `out: Output`, made from the flags that every command has, and with
    `settings` (names of `TrainConfig`) also `settings: dict[str, Any]`, the values of those flags,
    None where a flag was not given. Its other parameters are flags and arguments of its own.
    After `command(app, "train", train, ["lr"])` the line `mnistlab train --lr 0.5 -q` calls
    `train(Output(quiet=True), {"lr": 0.5})`.
    """
    own, shared = (dict(inspect.signature(one).parameters) for one in (function, _output))
    if not settings or not {"run", "first", "sources", "config"} & own.keys():
        del shared["trust_code"]
    if not {name, function.__module__.rpartition(".")[2]} & SPEAKING:
        del shared["lang"]

    def run(**values: Any) -> None:
        common = {key: values.pop(key) for key in shared}
        out = _output(**common)
        english = "lang" not in common or (out.as_json and name not in WRITES_PAGE)
        use_language("en" if english else common["lang"], out.notice)
        if settings:
            given = {key: values.pop(key) for key in settings}
            pairs = given.get("model_set")  # as often as the flag was given
            values["settings"] = given | ({"model_set": dict(pairs)} if pairs else {})
        # wrong values are refused; `train` and `lr-find`, which have models, do this themselves
        if "model" not in settings:
            resolve({key: values["settings"][key] for key in settings if key not in MODEL_SETTINGS})
        function(out=out, **values)

    parameters = [
        inspect.Parameter(key, _KEYWORD, default=None, annotation=_setting_flag(key))
        for key in settings
    ]
    parameters += [
        one.replace(kind=_KEYWORD) for key, one in own.items() if key not in ("out", "settings")
    ]
    parameters += shared.values()
    # typer asks for the signature; with one of our own it makes all of these flags
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__doc__ = function.__doc__
    app.command(name)(run)


def train_command(settings: Mapping[str, Any], config: str | None = None) -> str:
    """The command line that trains with these settings."""
    words = ["mnistlab", "train"] + (["--config", config] if config else [])
    for key, value in settings.items():
        if isinstance(value, dict):
            for name, one in value.items():
                words += [flag_of(key), f"{name}={json.dumps(one, ensure_ascii=False)}"]
        elif isinstance(value, bool):
            words.append(flag_of(key) if value else flag_of(key).replace("--", "--no-", 1))
        elif value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [flag_of(key), text]
    return printable(quoted(*words))


def _setting_flag(key: str) -> Any:
    """The flag of a setting, made from its field of `TrainConfig`."""
    setting, flag = SETTINGS[key], flag_of(key)
    needs = ", ".join(value for values in setting.needs.values() for value in values)
    text = setting.help.removesuffix(".") + (f" ({needs})" if needs else "") + "."
    if default := _default_text(key):
        text += f"  [default: {default}]"
    if TYPES[key] is bool:
        names = flag if key == "skip_bad" else f"{flag}/--no-{flag.removeprefix('--')}"
        return Annotated[bool | None, typer.Option(names, help=text)]
    known = NAMED if key == "data" else choices_of(key)
    return Annotated[
        list[Any] | None if get_origin(TYPES[key]) is dict else Any,
        typer.Option(
            flag,
            metavar=_metavar(key),
            parser=_parser(TYPES[key]),
            help=text,
            autocompletion=complete_runs if key == "from_run" else complete_from(lambda: known),
        ),
    ]


def _default_text(key: str) -> str:
    """The default, then those that models have of their own; empty for what is off or empty."""
    plain = getattr(TrainConfig(), key)
    if isinstance(plain, bool):
        return key if plain else ""
    if isinstance(plain, list):
        return ",".join(map(str, plain))
    own = {model: values[key] for model, values in MODEL_DEFAULTS.items() if key in values}
    own.pop("pixel-similarity", None)  # which is the model of another command
    texts = [f"{model} {value}" for model, value in own.items()]
    return ", ".join(texts if "linear" in own else [str(plain), *texts])


def _metavar(key: str) -> str:
    if key in _METAVARS:
        return _METAVARS[key]
    if get_origin(TYPES[key]) is list:
        return "N,N,..."
    return "X" if TYPES[key] is float else "|".join(choices_of(key)) or "N"


def _parser(annotation: Any) -> Callable[[str], Any]:
    """From the text of a flag to its value; a text that is no such value stays a text.

    `config.py` then refuses it, together with everything else that is wrong.
    """

    def number(text: str) -> Any:
        with contextlib.suppress(ValueError):
            return float(text) if annotation is float else int(text)
        return text

    def pair(text: str) -> tuple[str, Any]:
        name, sign, value = text.partition("=")
        name = name if sign else ""
        with contextlib.suppress(tomllib.TOMLDecodeError):
            return name, tomllib.loads(f"value = {value}")["value"]
        return name, value

    if get_origin(annotation) is dict:
        return pair
    if annotation is str:
        return str
    if get_origin(annotation) is list:
        return lambda text: [number(part.strip()) for part in text.split(",")]
    return number
