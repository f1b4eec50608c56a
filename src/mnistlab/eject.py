"""A run as one plain PyTorch script: no mnistlab in it, the same weights to the bit out of it."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps

from mnistlab.config import TrainConfig
from mnistlab.data.folders import ImageFolders
from mnistlab.data.named import load_data
from mnistlab.errors import ConfigError, DataError, RunError
from mnistlab.names import printable
from mnistlab.runs import Run

_HEAD = """# Trains @WHAT@, as mnistlab did in the run @RUN@.
#
# Needs torch and Pillow. On the same machine, with the same torch and threads, the last line is
# @SHA@

import hashlib
import sys
from pathlib import Path

import torch
from PIL import @PIL@
from torch import nn

DATA = Path(sys.argv[1] if len(sys.argv) > 1 else @DATA@)
CLASSES = @CLASSES@
EPOCHS, BATCH_SIZE, LR, SEED, DEVICE = @EPOCHS@, @BATCH_SIZE@, @LR@, @SEED@, @DEVICE@
@SKIP@torch.set_num_threads(@THREADS@)


"""

_LOAD = """

def load(split):
    images, labels = [], []
    for label, name in enumerate(CLASSES):
        for path in sorted((DATA / split / name).iterdir(), key=lambda path: path.name):
            if not path.name.startswith(".")@AND_SKIP@:
                images.append(read(path))
                labels.append(label)
    return torch.stack(images).to(DEVICE), torch.tensor(labels).to(DEVICE)


def shuffled(n, epoch):  # a function of seed and epoch, not of a running generator
    mixed = hashlib.sha256(f"order {SEED} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(mixed[:8], "little") >> 1)
    return torch.randperm(n, generator=generator)


"""

_LOSSES = {
    "mnist": """def loss_func(logits, targets):  # how far each probability is from its target
    return (logits.sigmoid() - targets).abs().mean()
""",
    "bce": """def loss_func(logits, targets):  # binary cross-entropy that no logit overflows
    return (logits.clamp(min=0) - logits * targets + (-logits.abs()).exp().log1p()).mean()
""",
    "cross-entropy": """def loss_func(logits, targets):
    log_probs = logits - logits.logsumexp(dim=1, keepdim=True)
    return -log_probs.gather(1, targets.unsqueeze(1)).mean()
""",
}

_LINEAR = {
    "uniform": """layer = nn.Linear(x.shape[1] * x.shape[2], @OUT@)
weights = nn.Parameter(layer.weight.detach().T.contiguous().to(DEVICE))
bias = nn.Parameter(layer.bias.detach().to(DEVICE))
""",
    "normal": """weights = nn.Parameter(torch.randn(x.shape[1] * x.shape[2], @OUT@).to(DEVICE))
bias = nn.Parameter(torch.randn(@OUT@).to(DEVICE))
""",
}

_LINEAR_REST = """params = {"weights": weights, "bias": bias}


def model(xb):
    return xb.flatten(1) @ weights + bias
"""

_TWO_LAYER = """pixels = x.shape[1] * x.shape[2]
hidden, out = nn.Linear(pixels, @HIDDEN@), nn.Linear(@HIDDEN@, @OUT@)
params = dict(nn.ModuleDict({"hidden": hidden, "out": out}).to(DEVICE).named_parameters())


def model(xb):
    return out(((hidden.weight @ xb.flatten(1).T).T + hidden.bias).relu())
"""

_LOOP = """

for epoch in range(EPOCHS):
    order = @ORDER@.to(DEVICE)
    for idx in order.split(BATCH_SIZE):
        loss_func(model(x[idx].unsqueeze(1) / 255), targets[idx]).backward()
        for param in params.values():
            param.data.add_(param.grad, alpha=-LR)
            param.grad = None
    with torch.no_grad():
        logits = torch.cat([model(xb.unsqueeze(1) / 255) for xb in valid_x.split(1024)])
    right = (@PREDICTED@ == valid_y).sum().item()
    print(f"{epoch:>5}  accuracy {right / len(valid_y):.6f}")

digest = hashlib.sha256()
for name, param in sorted(params.items()):
    digest.update(f"{name} float32 {'x'.join(map(str, param.shape))}\\n".encode())
    digest.update(param.detach().cpu().contiguous().numpy().astype("<f4").tobytes())
print(digest.hexdigest())
"""


def eject(run: Run) -> str:
    """The script that trains what `run` trained, as text.

    Raises ConfigError for a run that trains nothing, DataError if the data has changed, RunError
    for a run that does not say what it was.
    """
    try:
        info = run.info()
    except FileNotFoundError as error:
        raise RunError(
            f"{printable(run.info_file)}: no such file; what to train is not known"
        ) from error
    if info.get("model") == "pixel-similarity":
        raise ConfigError(f"{run.name}: pixel similarity trains nothing; eject a trained run")
    try:
        config = TrainConfig(**info["config"])
        fingerprint, sha = info["data"]["fingerprint"], (info["result"] or {}).get("weights_sha256")
        repeats = info["status"] == "done" and not info["mixed"]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{printable(run.info_file)}: not the record of a training run") from error
    data = load_data(config.data, skip_bad=config.skip_bad)
    if data.fingerprint != fingerprint:
        raise DataError(
            config.data,
            [f"{printable(config.data)}: has changed since {printable(run.name)} was trained"],
        )
    return _script(
        run, config, data, str(sha) if repeats else "(unknown: not one finished run on one machine)"
    )


def _script(run: Run, config: TrainConfig, data: ImageFolders, sha: str) -> str:
    out = 1 if len(data.classes) == 2 else len(data.classes)
    skipped = sorted(data.skipped)
    full = _first_wrong(data, _read_plain) is not None
    if full and (wrong := _first_wrong(data, _read_full)) is not None:
        raise ConfigError(
            f"{printable(wrong)}: a kind of image that the script's short reader gets wrong; save "
            "it as 8-bit grey first"
        )
    linear = config.model == "linear"
    model = _LINEAR[config.init] + _LINEAR_REST if linear else _TWO_LAYER
    prepare = 'x, y = load("train")\nvalid_x, valid_y = load("valid")\n'
    prepare += f"targets = {'(y == 0).float().unsqueeze(1)' if out == 1 else 'y'}\n"
    prepare += "torch.manual_seed(SEED)\n"
    reader = _source(_values) + _source(_read_full) if full else _source(_read_plain)
    text = _HEAD + reader.rstrip() + "\n" + _LOAD + _LOSSES[config.loss]
    text += "\n\n" + prepare + model + _LOOP
    words: dict[str, Any] = {
        "WHAT": f"the {config.model} model on {printable(config.data)}",
        "RUN": printable(run.name),
        "SHA": sha,
        "PIL": "Image, ImageOps" if full else "Image",
        "DATA": repr(str(data.root.absolute())),
        "CLASSES": repr(list(data.classes)),
        "EPOCHS": config.epochs,
        "BATCH_SIZE": config.batch_size,
        "LR": config.lr,
        "SEED": config.seed,
        "DEVICE": repr(config.device),
        "THREADS": config.threads,
        "SKIP": f"SKIP = {skipped!r}  # cannot be used\n" if skipped else "",
        "AND_SKIP": ' and f"{split}/{name}/{path.name}" not in SKIP' if skipped else "",
        "HIDDEN": config.hidden,
        "OUT": out,
        "ORDER": "shuffled(len(x), epoch)" if config.shuffle else "torch.arange(len(x))",
        "PREDICTED": "(logits.squeeze(1) <= 0).long()" if out == 1 else "logits.argmax(1)",
    }
    text = re.sub("@([A-Z_]+)@", lambda found: str(words[found[1]]), text)
    if not config.shuffle:
        start, end = text.index("def shuffled"), text.index("def loss_func")
        text = text[:start] + text[end:]
    return text


def _first_wrong(data: ImageFolders, read: Callable[[Path], torch.Tensor]) -> Path | None:
    """The first file that `read` does not turn into the pixels that training saw."""
    for split, name in ((data.train, "train"), (data.valid, "valid")):
        for file, image in zip(split.files, split.ds.tensors[0], strict=True):
            path = data.root / name / file
            if not torch.equal(read(path), image):
                return path
    return None


# The next functions are compared with the training images, and then go into the script as they
# stand here.


def _read_plain(path: Path) -> torch.Tensor:
    image = Image.open(path).convert("L")
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, -1)


def _values(image: Image.Image, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.frombuffer(bytearray(image.tobytes()), dtype=dtype)


def _read_full(path: Path) -> torch.Tensor:
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16 bits, to the nearest of 256 levels
        levels = _values(image.convert("I"), torch.int32).long()
        return ((levels * 255 + 32767) // 65535).to(torch.uint8).view(image.height, -1)
    if image.has_transparency_data:  # on the ground that shows the ink
        image = image.convert("RGBA")
        alpha = _values(image.getchannel("A")).double()
        luma = _values(image.convert("RGB").convert("L")).double()
        light = alpha.sum() > 0 and (luma * alpha).sum() / alpha.sum() >= 128
        ground = Image.new("RGBA", image.size, (0, 0, 0, 255) if light else (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return _values(image.convert("RGB").convert("L")).view(image.height, -1)


def _source(function: Callable[..., object]) -> str:
    """The text of a function above, under the name it has in the script."""
    text = inspect.getsource(function)
    for name in ("_read_plain", "_read_full"):
        text = text.replace(name, "read")
    return text.replace("_values", "values") + "\n\n"
