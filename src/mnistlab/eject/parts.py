"""What a script is put together from.

A line that ends in `#? flag other` is only in scripts that have all these flags, `!flag` in those
that do not; `@WORD@` is replaced.
"""

import re
from collections.abc import Collection, Mapping

HEAD = """\
# Trains @WHAT@, as mnistlab did in the run @RUN@.
#
# Needs @NEEDS@. On the same machine, with the same torch and threads, the last line is
# @SHA@
# Its images are in the folder that is made by: @BRING@  #? kept

import hashlib
import math  #? math
import sys
from pathlib import Path

import torch
from PIL import @PIL@
from torch import nn
from torch.nn.functional import affine_grid, grid_sample  #? augment
@TORCHVISION@  #? resnet18

DATA = Path(sys.argv[1] if len(sys.argv) > 1 else @DATA@)
CLASSES = @CLASSES@
EPOCHS, BATCH_SIZE, LR, SEED, DEVICE = @EPOCHS@, @BATCH_SIZE@, @LR@, @SEED@, @DEVICE@
@STEPS@  #? steps
@MORE@  #? more
SKIP = @SKIP@  # cannot be used  #? skip
torch.set_num_threads(@THREADS@)
"""

TORCHVISION = """
try:
    from torchvision.models import resnet18
except RuntimeError:  # beside a torch of another build two operators are missing; no net needs them
    for operator in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{operator}", schema)
    from torchvision.models import resnet18"""

LOAD = """\
def load(split):
    images, labels = [], []
    for label, name in enumerate(CLASSES):
        for path in sorted((DATA / split / name).iterdir(), key=lambda path: path.name):
            if not path.name.startswith("."):  #? !skip
            if not path.name.startswith(".") and f"{split}/{name}/{path.name}" not in SKIP:  #? skip
                images.append(read(path))
                labels.append(label)
    return torch.stack(images).to(DEVICE), torch.tensor(labels).to(DEVICE)
"""

LOSSES = {
    "mnist": """\
def loss_func(logits, targets):  # how far each probability is from its target
    return (logits.sigmoid() - targets).abs().mean()
""",
    "bce": """\
def loss_func(logits, targets):  # binary cross-entropy that no logit overflows
    targets = targets * (1 - SMOOTHING) + SMOOTHING / 2  #? smoothing
    return (logits.clamp(min=0) - logits * targets + (-logits.abs()).exp().log1p()).mean()
""",
    "cross-entropy": """\
def loss_func(logits, targets):
    log_probs = logits - logits.logsumexp(dim=1, keepdim=True)
    return -log_probs.gather(1, targets.unsqueeze(1)).mean()  #? !smoothing
    loss = -log_probs.gather(1, targets.unsqueeze(1)).mean()  #? smoothing
    return loss * (1 - SMOOTHING) - log_probs.mean() * SMOOTHING  #? smoothing
""",
}

PREPARE = """\
x, y = load("train")
valid_x, valid_y = load("valid")
targets = (y == 0).float().unsqueeze(1)  #? two
targets = y  #? !two
torch.manual_seed(SEED)
"""

MODELS = {
    "linear": """\
layer = nn.Linear(x.shape[1] * x.shape[2], @OUT@)  #? uniform
weights = nn.Parameter(layer.weight.detach().T.contiguous().to(DEVICE))  #? uniform
bias = nn.Parameter(layer.bias.detach().to(DEVICE))  #? uniform
weights = nn.Parameter(torch.randn(x.shape[1] * x.shape[2], @OUT@).to(DEVICE))  #? normal
bias = nn.Parameter(torch.randn(@OUT@).to(DEVICE))  #? normal
params = {"weights": weights, "bias": bias}


def model(xb):
    return xb.flatten(1) @ weights + bias


""",
    "two-layer": """\
pixels = x.shape[1] * x.shape[2]
hidden, out = nn.Linear(pixels, @HIDDEN@), nn.Linear(@HIDDEN@, @OUT@)
params = dict(nn.ModuleDict({"hidden": hidden, "out": out}).to(DEVICE).named_parameters())


def model(xb):
    return out(((hidden.weight @ xb.flatten(1).T).T + hidden.bias).relu())


""",
    "cnn": """\
stages = nn.Sequential(
@STAGES@
)
hidden, out = nn.Linear(@FEATURES@, @HIDDEN@), nn.Linear(@HIDDEN@, @OUT@)
net = nn.ModuleDict({"stages": stages, "hidden": hidden, "out": out})
net.to(DEVICE, memory_format=torch.channels_last)


def model(xb):  # from grey levels around zero
    return out(hidden(stages((xb - @MEAN@) / @STD@).flatten(1)).relu())


""",
    "resnet18": """\
resnet = resnet18(num_classes=@OUT@)
resnet.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)  # one channel: grey
nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
net = nn.ModuleDict({"net": resnet}).to(DEVICE, memory_format=torch.channels_last)


def model(xb):  # from grey levels around zero
    return resnet((xb - @MEAN@) / @STD@)


""",
}

LOOP = """\
velocities = [torch.zeros_like(param) for param in @PARAMS@]  #? velocity
opt = torch.optim.@ADAM@(@PARAMS@, LR, (MOMENTUM, BETA2)@OPTIONS@)  #? torchs
per_epoch = -(-len(x) // BATCH_SIZE)  #? one-cycle
schedule = one_cycle(LR, @MOMENTUM@, EPOCHS * per_epoch, warmup=WARMUP)  #? one-cycle
best = -1  #? best

for epoch in range(EPOCHS):
    order = epoch_order(len(x), @ORDER_SEED@, epoch).to(DEVICE)  #? shuffle
    order = torch.arange(len(x)).to(DEVICE)  #? !shuffle
    net.train()  #? norm
    for idx in order.split(BATCH_SIZE):  #? !counted
    for batch, idx in enumerate(order.split(BATCH_SIZE)):  #? counted
        xb = augment(x[idx].unsqueeze(1) / 255, @ORDER_SEED@, epoch, batch)  #? augment
        lr, momentum = schedule(epoch * per_epoch + batch)  #? one-cycle
        with torch.autocast(DEVICE, torch.bfloat16):  #? bf16
            logits = model(@XB@)  #? bf16
        loss_func(logits.float(), targets[idx]).backward()  #? bf16
        loss_func(model(@XB@), targets[idx]).backward()  #? !bf16
        for param in @PARAMS@:  #? basic
            param.data.add_(param.grad, alpha=-@RATE@)  #? basic
        for param, velocity in zip(@PARAMS@, velocities):  #? velocity
            velocity.mul_(@NOW@).add_(param.grad)  #? velocity
            param.data.add_(velocity, alpha=-@RATE@)  #? momentum
            ahead = param.grad.add(velocity, alpha=@NOW@)  #? nesterov
            param.data.add_(ahead, alpha=-@RATE@)  #? nesterov
            param.grad = None  #? !torchs
        opt.param_groups[0].update(lr=lr, betas=(momentum, BETA2))  #? torchs one-cycle
        opt.step()  #? torchs
        opt.zero_grad()  #? torchs
    net.eval()  #? norm
    with torch.no_grad():
        logits = torch.cat([model(xb.unsqueeze(1) / 255) for xb in valid_x.split(@AT_ONCE@)])
    right = ((logits.squeeze(1) <= 0).long() == valid_y).sum().item()  #? two
    right = (logits.argmax(1) == valid_y).sum().item()  #? !two
    print(f"{epoch:>5}  accuracy {right / len(valid_y):.6f}")
    if right > best:  #? best
        best = right  #? best !patience
        best, best_epoch = right, epoch  #? patience
        kept = {name: tensor.detach().clone() for name, tensor in @STATE@.items()}  #? keep
    elif epoch - best_epoch >= PATIENCE:  #? patience
        break  #? patience

digest = hashlib.sha256()
for name, tensor in sorted(@KEPT@.items()):
    digest.update(f"{name} float32 {'x'.join(map(str, tensor.shape))}\\n".encode())  #? !norm
    digest.update(tensor.detach().cpu().contiguous().numpy().astype("<f4").tobytes())  #? !norm
    values = tensor.detach().cpu().contiguous().numpy()  #? norm
    digest.update(f"{name} {values.dtype} {'x'.join(map(str, values.shape))}\\n".encode())  #? norm
    digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())  #? norm
print(digest.hexdigest())
"""

_CONDITION = re.compile(r" *#\? (.+)$")


def fill(text: str, words: Mapping[str, object], flags: Collection[str]) -> str:
    """`text` with the lines that `flags` call for and its `@WORD@`s replaced, once."""
    lines = []
    for line in text.splitlines():
        condition = _CONDITION.search(line)
        wanted = condition[1].split() if condition else []
        if all((word[1:] not in flags) if word[0] == "!" else word in flags for word in wanted):
            lines.append(_CONDITION.sub("", line))
    return re.sub("@([A-Z_]+)@", lambda found: str(words[found[1]]), "\n".join(lines))
