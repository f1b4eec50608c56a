"""A run as one plain PyTorch script: no mnistlab in it, the same weights to the bit out of it.

`script.py.j2` is the script, a Jinja template. The loop is text of its own; the model, the loss and
other functions are borrowed: their source stands in the script as it stands in mnistlab, so that
the two cannot drift apart.
"""

import ast
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined, meta
from PIL import Image, ImageOps

from mnistlab.config import MODEL_SETTINGS, TrainConfig, short
from mnistlab.data.batches import augment, epoch_order, eval_batch
from mnistlab.data.datasets import DATASETS, NAMED
from mnistlab.data.layouts import options_of
from mnistlab.data.named import load_data, require_same, whereabouts
from mnistlab.data.store import ImageData
from mnistlab.errors import ConfigError
from mnistlab.losses import class_weights, predictions, targets_for
from mnistlab.models import ModelCard
from mnistlab.names import printable
from mnistlab.optim import RATES, one_cycle
from mnistlab.own_code import SourceCode, is_definition, kept
from mnistlab.runs import Run
from mnistlab.system import quoted
from mnistlab.training import check_model

TEMPLATE = Path(__file__).with_name("script.py.j2").read_text("utf-8")
ENVIRONMENT = Environment(
    autoescape=False,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)

_ALONE = {"torch", *sys.stdlib_module_names} - {"__future__"}  # what own code may import


def eject(run: Run, data: str | None = None) -> tuple[str, str]:
    """The script that trains what `run` trained, and the folder to name behind it ("": none).

    `data` says where the run's data are now.

    Raises ConfigError for a run that trains nothing, trained several seeds, or has settings that a
    script does not follow; DataError if the data has changed, DamagedFileError for a run that does
    not say what it was.
    """
    record = run.record()
    config, name = record.config, printable(run.name)
    if config.model == "pixel-similarity":
        raise ConfigError(f"{name}: pixel similarity trains nothing; eject a trained run")
    if config.is_study:
        file = printable(quoted(run.config_file))
        raise ConfigError(
            f"{name}: trained several models, and a script trains one; train one alone with "
            f"mnistlab train --config {file} --seeds 1 --folds 0 --seed N, and eject that run"
        )
    require_known(config)
    loaded = load_data(whereabouts(run, config.data, data), options_of(config))
    require_same(run, loaded, record.data.fingerprint)
    plain = all(
        path.startswith(side) and path.count("/") == 2
        for part, side in ((loaded.train, "train/"), (loaded.valid, "valid/"))
        for path in part.paths()
    )
    if not plain or loaded.fit is not None or config.exclude:
        raise ConfigError(
            f"{printable(config.data)}: a script reads train/<class>/ and valid/<class>/ alone, "
            "all images of one size; make such a folder with: mnistlab data split"
        )
    sha = "(unknown: not one finished run on one machine)"
    if record.status == "done" and not record.mixed and record.result is not None:
        sha = str(record.result.weights_sha256)
    return script(replace(config, data=loaded.name), loaded, name, sha, kept(record.sources))


def require_known(config: TrainConfig) -> None:
    """Raise ConfigError, which names them all, for settings that a script does not follow."""
    # It follows those that the template names, and those that are arguments of the model.
    written = meta.find_undeclared_variables(ENVIRONMENT.parse(TEMPLATE))
    known = {*written, *MODEL_SETTINGS, "model_set"}
    faults = [
        f"{key.replace('_', '-')} {value}: a script cannot do this"
        for key, value in config.applicable().items()
        if value != getattr(type(config)(), key) and key not in known
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def script(
    config: TrainConfig, data: ImageData, run: str, sha: str, own: Mapping[str, SourceCode] = {}
) -> tuple[str, str]:
    """As `eject`, for settings that are all known; `sha` is said of the weights to expect."""
    is_download = config.data in DATASETS
    reader = read if is_download else _reader_for(data)  # a download is made as plain PNG files
    names, settings = (short(config.model), data.classes, data.image_size), config.model_settings()
    card = ModelCard(*names, settings, short(config.loss), sources=dict(own))
    model, loss_func = card.build(), card.loss_func()
    draws, least = check_model(model, data.train_ds, len(data.classes))
    borrowed: list[Any] = [type(model), loss_func, targets_for, predictions, reader]
    borrowed += [class_weights] if config.class_weights == "balanced" else []
    borrowed += [epoch_order] if config.shuffle else []
    borrowed += [augment] if config.augment else []
    borrowed += [one_cycle] if config.schedule == "one-cycle" else []
    done: dict[str, Any] = {}
    texts: list[str] = []
    imports: set[str] = set()
    for item in (one for one in borrowed if one.__module__.startswith("mnistlab.")):
        _borrow(sys.modules[item.__module__], item.__name__, done, texts, imports)
    if config.class_weights == "none":  # then no word about them
        texts = [_WEIGHTS.sub("", text) for text in texts]
    imports -= {*TEMPLATE.splitlines()}
    definitions = [text for text in texts if text.startswith(("def ", "class ", "@"))]
    constants = dict.fromkeys(text for text in texts if text not in definitions)
    for code in own.values():
        require_alone(code)
    made = _call(type(model).__name__, settings, "tuple(x.shape[1:])", "len(CLASSES)")
    if "model" in own:
        made = _call(own["model"].own, card.arguments())
    own_optimizer = ""
    if stepping := own.get("optimizer"):
        rates = {key: getattr(config, key) for key in ("lr", *RATES)}
        own_optimizer = _call(stepping.own, stepping.asked(rates), "model.parameters()")
    folder, argument = (config.data, "") if is_download else _without_machine(data.root.absolute())
    values = config.applicable() | {
        "data": printable(config.data if config.data in NAMED else folder),
        "loss": loss_func.__name__,
        "model": card.model,
        "own_optimizer": own_optimizer,
        "run": run,
        "sha": sha,
        "folder": folder,
        "is_download": is_download,
        "classes": list(data.classes),
        "skipped": sorted(data.skipped),
        "imports": sorted(imports, key=lambda line: (line[0] == "f", line)),
        "constants": "\n".join(constants),
        "functions": "\n\n\n".join([*{code.text for code in own.values()}, *definitions]),
        "read": reader.__name__,
        "made": made,
        "draws": draws,
        "least": least,
        "eval_batch": eval_batch(*data.image_size),
    }
    return ENVIRONMENT.from_string(TEMPLATE).render(values), argument


def _call(name: str, named: Mapping[str, Any], *first: str) -> str:
    """The text of a call."""
    return f"{name}({', '.join([*first, *(f'{k}={v!r}' for k, v in named.items())])})"


def require_alone(code: SourceCode) -> None:
    """Raise ConfigError unless own code can stand in a script."""
    for node in ast.parse(code.text).body:
        imports = [one for one in ast.walk(node) if isinstance(one, ast.Import | ast.ImportFrom)]
        names = [getattr(one, "module", None) or each.name for one in imports for each in one.names]
        if not is_definition(node) or {name.partition(".")[0] for name in names} - _ALONE:
            raise ConfigError(
                f"{printable(code.name)}, line {node.lineno}: a script takes torch, Python's own "
                "modules, functions, classes and constants"
            )


def _without_machine(folder: Path) -> tuple[str, str]:
    """How a script names `folder`, and what to name on its command line where that is too little.

    Nobody else's machine has this one's folders: a folder is named from the current one or from the
    user's own, and by its last part alone where it is below neither.
    """
    if folder.is_relative_to(Path.cwd()):
        return folder.relative_to(Path.cwd()).as_posix(), ""
    if folder.is_relative_to(home := os.path.expanduser("~")):
        return f"~/{folder.relative_to(home).as_posix()}", ""
    return folder.name, str(folder)


def _borrow(
    module: ModuleType, name: str, done: dict[str, Any], texts: list[str], imports: set[str]
) -> None:
    """Add the source of what `name` is in `module` to `texts`, behind that of all it uses, and the
    lines that import what is not of mnistlab to `imports`. `done`: what was added, by name.
    """
    value = vars(module).get(name)
    if value is None or name in done:  # None: of Python itself, or a variable
        assert value is None or done[name] is value, f"two objects to borrow are named {name}"
        return
    done[name] = value
    source = inspect.getsource(module)
    foreign = rf"^from (?!mnistlab)(\S+) import .*\b{name}\b.*$|^import (?:.*\b)?{name}$"
    if match := re.search(foreign, source, re.MULTILINE):
        imports.add(f"from {match[1]} import {name}" if match[1] else match[0])
        return
    if isinstance(value, type | FunctionType):
        text, module = _shortened(inspect.getsource(value)), sys.modules[value.__module__]
    else:  # a constant: its line, which may name others beside it
        match = re.search(rf"^(\w+, )*{name}\b.* = .*$", source, re.MULTILINE)
        text = match[0] if match else f"{name} = {value!r}"
    for part in ast.walk(ast.parse(text)):
        if isinstance(part, ast.Name):
            _borrow(module, part.id, done, texts, imports)
    texts.append(text)


# what the losses say of class weights
_WEIGHTS = re.compile(r",\s+weights: torch.Tensor \| None = None|\n +if weights is not None:\n.*")


def _shortened(source: str) -> str:
    """The source of a function or class with one line of each docstring, and without the checks
    that do nothing but raise an error, which the run has passed.
    """
    check = r"^( *)(?:if .*|else):\n\1    raise (?:.*\)|(?:.*\n)+?\1    \))\n"
    source = re.sub(check + r"|^ +_(?:check|require)\w*\(.*\)\n", "", source, flags=re.MULTILINE)
    source = re.sub(r'(""".*[^"\n])\n(?:.*\n)*?.*"""', r'\1"""', source)
    return re.sub(r"  # type: ignore\[.*\]", "", source).rstrip()


def _reader_for(data: ImageData) -> Callable[[Path], torch.Tensor]:
    """The shortest function that reads every image as training saw it.

    Raises ConfigError, which names the file, where none of ours does.
    """
    splits = (data.train, data.valid)
    paths = [data.root / path for split in splits for path in split.paths()]
    images = [image for split in splits for image in split.ds.tensors[0]]
    for reader in (read, read_any):
        pairs = zip(paths, images, strict=True)
        wrong = next((path for path, image in pairs if not reader(path).equal(image)), None)
        if wrong is None:
            return reader
    raise ConfigError(
        f"{printable(wrong)}: a kind of image that the script's short reader gets wrong; save it "
        "as 8-bit grey first"
    )


def read(path: Path) -> torch.Tensor:
    """A file of 8-bit grey or colour → uint8 (height, width)."""
    image = Image.open(path).convert("L")
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, -1)


def read_any(path: Path) -> torch.Tensor:
    """An image file that may have 16 bits, be turned or transparent → uint8 (height, width)."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16 bits, to the nearest of 256 levels
        levels = _values(image.convert("I"), torch.int32).long()
        return ((levels * 255 + 32767) // 65535).to(torch.uint8).view(image.height, -1)
    if image.has_transparency_data:  # on the paper on which the ink can be seen
        image = image.convert("RGBA")
        alpha = _values(image.getchannel("A")).double()
        luma = _values(image.convert("RGB").convert("L")).double()
        is_light = alpha.sum() > 0 and (luma * alpha).sum() / alpha.sum() >= 128
        paper = Image.new("RGBA", image.size, "black" if is_light else "white")
        image = Image.alpha_composite(paper, image)
    return _values(image.convert("RGB").convert("L")).view(image.height, -1)


def _values(image: Image.Image, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.frombuffer(bytearray(image.tobytes()), dtype=dtype)
