"""What the site says of commands and public names, made of the code itself."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

import typer
from annotated_types import Interval, Len

import mnistlab
from mnistlab.cli.app import app
from mnistlab.config import SETTINGS, TrainConfig, flag_of

TYPES = get_type_hints(TrainConfig, include_extras=True)
FLAG = re.compile(r"(?<![\w-])(--?[a-z][\w-]*)")


def number(value: Any) -> str:
    """A limit as it is read best: 2^31 rather than 2147483648."""
    power = int(value).bit_length() - 1
    return f"2^{power}" if power > 9 and value == 2**power else f"{value:,g}"


def range_of(annotation: Any) -> str:
    """The range of a setting, as `0 < X <= 1e+38`; empty where it has none."""
    texts = [range_of(one) for one in get_args(annotation)]
    for one in getattr(annotation, "__metadata__", ()):
        if isinstance(one, Interval):
            low = {"<=": one.ge, "<": one.gt}
            high = {"<=": one.le, "<": one.lt}
            text = "".join(f"{number(v)} {sign} " for sign, v in low.items() if v is not None)
            text += "X"
            text += "".join(f" {sign} {number(v)}" for sign, v in high.items() if v is not None)
            texts.append(text)
        elif isinstance(one, Len) and one.max_length:
            texts.append(f"{one.min_length} to {one.max_length} of them")
    return ", ".join(filter(None, texts))


def leaves(command: Any, context: typer.Context) -> Iterator[typer.Context]:
    """The context of each command that does something, or has flags of its own."""
    if command.params:
        yield context
    for name, one in getattr(command, "commands", {}).items():
        yield from leaves(one, typer.Context(one, info_name=name, parent=context))


def options_of(context: typer.Context) -> dict[str, tuple[str, str]]:
    """How each flag and argument of a command is written, and what it is for, by its name."""
    options = {}
    for param in context.command.params:
        if record := param.get_help_record(context):  # a hidden one has none
            written = record[0].replace(" / ", ", ")
            if param.param_type_name == "argument":  # its name, without the type in Python
                written = written.partition(" ")[0]
            options[param.opts[0]] = (written, record[1])
    return options


def prose(text: str) -> str:
    """A plain text as Markdown, its flags as code."""
    parts = FLAG.split(text)
    parts[::2] = [re.sub(r"([\\`*_\[\]<>#|~$])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"`{flag}`" for flag in parts[1::2]]
    return "".join(parts)


def commands() -> str:
    """Every command with its arguments and flags, as `-h` has them, and the ranges of settings."""
    root = typer.main.get_command(app)
    found = {
        one.command_path: one for one in leaves(root, typer.Context(root, info_name="mnistlab"))
    }
    train = options_of(found["mnistlab train"])
    ranges = {flag_of(key): range_of(TYPES[key]) for key in SETTINGS}
    return "\n".join(
        line
        for path, context in found.items()
        for line in _command(path, context, {} if path == "mnistlab train" else train, ranges)
    )


def _command(
    path: str,
    context: typer.Context,
    train: Mapping[str, tuple[str, str]],
    ranges: Mapping[str, str],
) -> Iterator[str]:
    usage = " ".join(context.command.collect_usage_pieces(context))
    yield f"### {path}\n"
    yield f"```text\n{path} {usage}\n```\n"
    yield prose((context.command.help or "").replace("\f", "")) + "\n"
    yield f"```{{program}} {path}\n```\n"
    same = []
    for name, (written, text) in options_of(context).items():
        if train.get(name) == (written, text):
            same.append(f"{{option}}`{name} <mnistlab train {name}>`")
            continue
        text, _, more = text.partition("  [")
        facts = [more.removesuffix("]")] if more else []
        if not train and ranges.get(name):
            facts.append(f"range: {ranges[name]}")
        yield f"````{{option}} {written}\n{prose(text)}\n"
        yield f"{{.facts}}\n{prose('; '.join(facts))}\n````\n" if facts else "````\n"
    if same:
        yield f"As for `mnistlab train`: {', '.join(same)}.\n"


def classes_in(annotation: Any) -> list[type]:
    """The package's own classes in an annotation."""
    inner = [one for part in get_args(annotation) for one in classes_in(part)]
    own = isinstance(annotation, type) and annotation.__module__.startswith("mnistlab.")
    return [annotation, *inner] if own else inner


def public_names() -> str:
    """What autodoc makes of the docstrings: of all public names, and of what functions return."""
    names = [name for name in mnistlab.__all__ if name not in ("__version__", "models")]
    public = {name: getattr(mnistlab, name) for name in names}
    functions = {name: one for name, one in public.items() if not isinstance(one, type)}
    returned = {
        f"{one.__module__}.{one.__name__}".removeprefix("mnistlab."): one
        for function in functions.values()
        for one in classes_in(get_type_hints(function)["return"])
        if one not in public.values()
    }
    lines = []
    for heading, found in {
        "Functions": functions,
        "Classes": {name: one for name, one in public.items() if name not in functions},
        "What functions return": returned,
    }.items():
        kind = "function" if found is functions else "class"
        lines += [f"## {heading}", "", "```{eval-rst}"]
        for name in found:
            lines += [f".. auto{kind}:: mnistlab.{name}", "   :members:" * (kind == "class")]
        lines += ["```", ""]
    return "\n".join(lines)
