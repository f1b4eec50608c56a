"""Answers to the exercises 13 to 21; see `answers.py`."""

OPTIMIZER = """
class {name}:
    def __init__(self, params, lr, momentum=0.9):
        self.params = {params}
        self.lr = lr
        self.momentum = momentum
        {velocities}

    def step(self):
        with torch.no_grad():
            for i, p in enumerate(self.params):
                {step}

    def zero_grad(self):
        {clear}
"""


def optimizer(
    step: str,
    name: str = "BasicOptim",
    params: str = "list(params)",
    clear: str = "for p in self.params: p.grad = None",
    velocities: str = "",
) -> str:
    """The class of an optimizer whose step does this to each parameter."""
    return OPTIMIZER.format(name=name, step=step, params=params, clear=clear, velocities=velocities)


def momentum(step: str) -> str:
    at_rest = "self.velocities = [torch.zeros_like(p) for p in self.params]"
    return optimizer(step, "Momentum", velocities=at_rest)


EPOCH = """
def train_epoch(model, opt, loss_func, dl):
    for xb, yb in dl:
        loss = loss_func(model(xb), yb)
        loss.backward()
        opt.step()
        opt.zero_grad()
"""

LOADER = """
class DataLoader:
    def __init__(self, ds, batch_size, shuffle=False):
        self.ds, self.batch_size, self.shuffle = ds, batch_size, shuffle

    def __len__(self):
        return math.ceil(len(self.ds) / self.batch_size)

    def __iter__(self):
        rows = list(range(len(self.ds)))
        if self.shuffle:
            random.shuffle(rows)
        for start in range(0, len(rows), self.batch_size):
            yield self.ds[rows[start : start + self.batch_size]]
"""
LOADER = f"import math\nimport random\n{LOADER}"

LEARNER = """
class Learner:
    def __init__(self, dls, model, opt_func, loss_func):
        self.dls, self.model, self.opt_func, self.loss_func = dls, model, opt_func, loss_func

    def fit(self, epochs, lr):
        opt = self.opt_func(self.model.parameters(), lr)
        accuracies = []
        for epoch in range(epochs):
            for xb, yb in self.dls[0]:
                loss = self.loss_func(self.model(xb), yb)
                loss.backward()
                opt.step()
                opt.zero_grad()
            right = total = 0
            for xb, yb in self.dls[1]:
                with torch.no_grad():
                    right += ((self.model(xb) > 0) == (yb == 1)).sum().item()
                total += len(yb)
            accuracies.append(right / total)
        return accuracies
"""

BATCH_MEANS = """

class Learner(Learner):
    def fit(self, epochs, lr):
        opt = self.opt_func(self.model.parameters(), lr)
        accuracies = []
        for epoch in range(epochs):
            for xb, yb in self.dls[0]:
                self.loss_func(self.model(xb), yb).backward()
                opt.step()
                opt.zero_grad()
            means = [((self.model(xb) > 0) == yb).float().mean() for xb, yb in self.dls[1]]
            accuracies.append(torch.stack(means).mean().item())
        return accuracies
"""

SOFTMAX = """
def softmax(logits):
    powers = (logits - logits.max(1, keepdim=True).values).exp()
    return powers / powers.sum(1, keepdim=True)
"""
CROSS_ENTROPY = """
def cross_entropy(logits, labels):
    own = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    return (logits.logsumexp(1) - own).mean()
"""

MEAN_IMAGES = """
def mean_images(images, labels):
    return torch.stack([images[labels == d].mean(0) for d in range(10)])
"""
NEAREST = """
def nearest(images, means):
    return torch.cdist(images.flatten(1), means.flatten(1), p=1).argmin(1)
"""

NET = """
def simple_net(inputs, hidden):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))
"""

SOLUTIONS: dict[str, list[str]] = {
    "basic_optim": [
        optimizer("p -= self.lr * p.grad"),
        optimizer("p.data = p.data - p.grad * self.lr"),
        optimizer("p.add_(p.grad, alpha=-self.lr)", params="[*params]"),
    ],
    "train_epoch": [
        EPOCH,
        EPOCH.replace("        opt.zero_grad()\n", "").replace(
            "        loss = ", "        opt.zero_grad()\n        loss = "
        )
        + "    opt.zero_grad()\n",
    ],
    "validate_epoch": [
        """
def validate_epoch(model, dl):
    right = [((model(xb) > 0).float() == yb).float() for xb, yb in dl]
    return torch.cat(right).mean()
""",
        """
def validate_epoch(model, dl):
    right = total = 0
    for xb, yb in dl:
        for probability, target in zip(model(xb).sigmoid(), yb):
            right += int((probability > 0.5) == (target == 1))
            total += 1
    return right / total
""",
    ],
    "momentum": [
        momentum(
            "v = self.velocities[i] = self.momentum * self.velocities[i] + p.grad; p -= self.lr * v"
        ),
        momentum(
            "self.velocities[i].mul_(self.momentum).add_(p.grad); "
            "p.sub_(self.velocities[i] * self.lr)"
        ),
    ],
    "simple_net": [
        NET,
        """
class Net(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(inputs, hidden))
        self.b1 = nn.Parameter(torch.randn(hidden))
        self.w2, self.b2 = nn.Parameter(torch.randn(hidden, 1)), nn.Parameter(torch.randn(1))

    def forward(self, xb):
        return (xb @ self.w1 + self.b1).clamp(min=0) @ self.w2 + self.b2

simple_net = Net
""",
    ],
    "cross_entropy": [
        SOFTMAX + CROSS_ENTROPY,
        """
def softmax(logits):
    return torch.softmax(logits, dim=-1)

def cross_entropy(logits, labels):
    return torch.nn.functional.nll_loss(torch.log_softmax(logits, 1), labels)
""",
        SOFTMAX
        + """
def cross_entropy(logits, labels):
    total = 0
    for row, label in zip(logits, labels):
        largest = row.max()
        total = total + largest + (row - largest).exp().sum().log() - row[label]
    return total / len(labels)
""",
    ],
    "ten_digits": [
        MEAN_IMAGES + NEAREST,
        """
def mean_images(images, labels):
    means = torch.zeros(10, 28, 28)
    for digit in range(10):
        own = [image for image, label in zip(images, labels) if label == digit]
        means[digit] = sum(own) / len(own)
    return means

def nearest(images, means):
    answers = []
    for image in images:
        answers.append(min(range(10), key=lambda d: (image - means[d]).abs().mean().item()))
    return torch.tensor(answers)
""",
    ],
    "data_loader": [
        LOADER,
        """
class DataLoader:
    def __init__(self, ds, batch_size, shuffle=False):
        self.dl = torch.utils.data.DataLoader(ds, batch_size, shuffle=shuffle)

    def __len__(self):
        return len(self.dl)

    def __iter__(self):
        return ((xb, yb) for xb, yb in self.dl)
""",
    ],
    "learner": [
        LEARNER,
        LEARNER.replace("loss.backward()", "loss = loss + 0; loss.backward()"),
    ],
}

# Exercise → wrong answers, each with a part of what is said of it.
WRONG: dict[str, list[tuple[str, str]]] = {
    "basic_optim": [
        (optimizer("p += self.lr * p.grad"), "up the slope"),
        (optimizer("p -= self.lr * p.grad", clear="pass"), "forgot to clear"),
        (optimizer("p -= self.lr * p.grad", params="params"), "can be used once"),
        (
            optimizer("p -= self.lr * p.grad").replace("torch.no_grad()", "torch.enable_grad()"),
            "recorded for autograd",
        ),
    ],
    "train_epoch": [
        (EPOCH.replace("        opt.zero_grad()\n", ""), "never cleared"),
        (
            EPOCH.replace("        opt.step()\n        opt.zero_grad()", "        opt.zero_grad()"),
            "No weight moves",
        ),
        (
            EPOCH.replace("        opt.step()\n        opt.zero", "    opt.step()\n    opt.zero"),
            "one step in an epoch",
        ),
    ],
    "validate_epoch": [
        (
            """
def validate_epoch(model, dl):
    accs = [((model(xb).sigmoid() > 0.5) == yb).float().mean() for xb, yb in dl]
    return sum(accs) / len(accs)
""",
            "mean of batch means",
        ),
        (
            """
def validate_epoch(model, dl):
    return torch.cat([(model(xb) > 0.5) == yb for xb, yb in dl]).float().mean()
""",
            "middle of probabilities",
        ),
        (
            """
def validate_epoch(model, dl):
    return sum(((model(xb) > 0) == yb).sum() for xb, yb in dl)
""",
            "how many are right",
        ),
    ],
    "momentum": [
        (
            momentum(
                "v = self.velocities[i]; v *= self.momentum; "
                "v += (1 - self.momentum) * p.grad; p -= self.lr * v"
            ),
            "take all of it",
        ),
        (
            momentum("v = self.momentum * self.velocities[i] + p.grad; p -= self.lr * v"),
            "lost from step to step",
        ),
        (
            momentum("self.velocities[i] += p.grad; p -= self.lr * self.velocities[i]"),
            "never gets smaller",
        ),
    ],
    "simple_net": [
        (NET.replace("nn.ReLU(), ", ""), "no ReLU"),
        (NET.replace(", 1))", ", 1), nn.ReLU())"), "A ReLU at the end"),
        (NET.replace(", 1))", ", 1), nn.Sigmoid())"), "A sigmoid at the end"),
    ],
    "cross_entropy": [
        (
            """
def softmax(logits):
    return logits.exp() / logits.exp().sum(0)
""".replace("logits.exp()", "(logits - logits.amax(0)).exp()")
            + CROSS_ENTROPY,
            "over a column",
        ),
        (
            """
def softmax(logits):
    return logits.exp() / logits.exp().sum(1, True)
"""
            + CROSS_ENTROPY,
            "is infinite: subtract",
        ),
        (SOFTMAX + CROSS_ENTROPY.replace("mean()", "mean().item()"), "No gradient comes back"),
        (SOFTMAX + CROSS_ENTROPY.replace("return (", "return -("), "minus is missing"),
        (
            SOFTMAX
            + """
def cross_entropy(logits, labels):
    return -softmax(logits)[torch.arange(len(labels)), labels].log().mean()
""",
            "probability of 0 is infinite",
        ),
    ],
    "ten_digits": [
        (
            """
def mean_images(images, labels):
    return torch.stack([images.mean(0)] * 10)
"""
            + NEAREST,
            "labels == digit",
        ),
        (MEAN_IMAGES + NEAREST.replace("argmin", "argmax"), "farthest"),
        (
            MEAN_IMAGES
            + """
def nearest(images, means):
    return torch.stack([(images - m).abs().mean((1, 2)) for m in means]).min(0).values
""",
            "not `min`",
        ),
    ],
    "data_loader": [
        (LOADER.replace("math.ceil(len(self.ds) / ", "int(len(self.ds) / "), "round up"),
        (
            LOADER.replace("    def __iter__(self):", "    def start(self):").replace(
                "        self.ds,", "        self.batches = None\n        self.ds,"
            )
            + """
    def __iter__(self):
        if self.batches is None:
            self.batches = self.start()
        return self.batches
""",
            "only once",
        ),
        (
            LOADER.replace("rows = list(range(len(self.ds)))\n", "rows = self.rows\n")
            .replace("        if self.shuffle:\n            random.shuffle(rows)\n", "")
            .replace(
                "batch_size, shuffle\n",
                "batch_size, shuffle\n        self.rows = list(range(len(ds)))\n"
                "        if shuffle: random.shuffle(self.rows)\n",
            ),
            "drawn once",
        ),
        (
            LOADER.replace(
                "yield self.ds[rows[start : start + self.batch_size]]",
                "part = slice(start, start + self.batch_size); "
                "yield self.ds.tensors[0][rows[part]], self.ds.tensors[1][other[part]]",
            ).replace(
                "            random.shuffle(rows)",
                "            random.shuffle(rows)\n"
                "        other = random.sample(rows, len(rows)) if self.shuffle else rows",
            ),
            "shuffled apart",
        ),
    ],
    "learner": [
        (LEARNER.replace("                opt.zero_grad()\n", ""), "never cleared"),
        (
            LEARNER.replace("        return accuracies", "            return accuracies"),
            "one epoch only",
        ),
        (LEARNER + BATCH_MEANS, "mean of batch means"),
    ],
}
