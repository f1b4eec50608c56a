"""Answers to the exercises 1 to 12, as learners write them: the right ones, and the classic errors.

They stand below the code that `exercise start` writes, whose gaps they define again.
"""

# Exercise → right answers, each written in another way.
SOLUTIONS: dict[str, list[str]] = {
    "mean_image": [
        """
def mean_image(images):
    return images.mean(dim=0)
""",
        """
def mean_image(images):
    total = torch.zeros(images.shape[1:])
    for image in images:
        total += image
    return total / len(images)
""",
        """
def mean_image(images):
    return sum(images) / images.shape[0]
""",
    ],
    "mnist_distance": [
        """
def mnist_distance(a, b):
    return (a - b).abs().mean((-1, -2))
""",
        """
def mnist_distance(a, b):
    difference = torch.where(a > b, a - b, b - a)
    return difference.flatten(-2).sum(-1) / 784
""",
        """
def mnist_distance(a, b):
    if a.ndim == 2:
        return torch.nn.functional.l1_loss(a, b)
    return torch.stack([mnist_distance(image, b) for image in a])
""",
    ],
    "is_3": [
        """
def is_3(images, mean3, mean7):
    return mnist_distance(images, mean3) < mnist_distance(images, mean7)
""",
        """
def is_3(images, mean3, mean7):
    both = torch.stack([mnist_distance(images, mean3), mnist_distance(images, mean7)])
    return both.argmin(0) == 0
""",
        """
def is_3(images, mean3, mean7):
    if images.ndim == 2:
        return bool((images - mean3).abs().mean() < (images - mean7).abs().mean())
    return torch.tensor([is_3(image, mean3, mean7) for image in images])
""",
    ],
    "accuracy": [
        """
def accuracy(answers, targets):
    return (answers == targets).float().mean()
""",
        """
def accuracy(answers, targets):
    right = 0
    for answer, target in zip(answers, targets):
        if bool(answer) == bool(target):
            right += 1
    return right / len(targets)
""",
        """
def accuracy(answers, targets):
    return 1 - (answers.float() - targets).abs().mean()
""",
    ],
    "derivative": [
        """
def derivative(x):
    return 6 * x**2 + 6 * x + 4
""",
        """
def derivative(x):
    x = x.clone().requires_grad_()
    (2 * x**3 + 3 * x**2 + 4 * x + 1).sum().backward()
    return x.grad
""",
        """
def f(x):
    return 2 * x**3 + 3 * x**2 + 4 * x + 1


def derivative(x):
    h = 1e-6
    return (f(x + h) - f(x - h)) / (2 * h)
""",
    ],
    "mse": [
        """
def f(t, params):
    a, b, c = params
    return a * t**2 + b * t + c


def mse(preds, targets):
    return ((preds - targets) ** 2).mean()
""",
        """
def f(t, params):
    return torch.stack([t * t, t, torch.ones_like(t)], dim=1) @ params


def mse(preds, targets):
    return torch.nn.functional.mse_loss(preds, targets)
""",
        """
def f(t, params):
    return (params[0] * t + params[1]) * t + params[2]


def mse(preds, targets):
    return sum((p - t) ** 2 for p, t in zip(preds, targets)) / len(targets)
""",
    ],
    "step": [
        """
def step(param, lr):
    param.data -= lr * param.grad
    param.grad = None
""",
        """
def step(param, lr):
    with torch.no_grad():
        param -= param.grad * lr
    param.grad.zero_()
""",
        """
@torch.no_grad()
def step(param, lr):
    param.copy_(param - lr * param.grad)
    param.grad[:] = 0
""",
    ],
    "seven_steps": [
        """
def seven_steps(time, speed, params, lr, steps):
    losses = []
    for _ in range(steps):
        preds = params[0] * time**2 + params[1] * time + params[2]
        loss = ((preds - speed) ** 2).mean()
        loss.backward()
        params.data -= lr * params.grad.data
        params.grad = None
        losses.append(loss.item())
    return losses
""",
        """
def one(time, speed, params, lr):
    a, b, c = params
    loss = torch.nn.functional.mse_loss(a * time**2 + b * time + c, speed)
    (grad,) = torch.autograd.grad(loss, params)
    with torch.no_grad():
        params -= lr * grad
    return loss.item()


def seven_steps(time, speed, params, lr, steps):
    return [one(time, speed, params, lr) for _ in range(steps)]
""",
        """
def seven_steps(time, speed, params, lr, steps):
    powers = torch.stack([time.square(), time, torch.ones_like(time)])
    losses = ()
    while len(losses) < steps:
        errors = params.detach() @ powers - speed
        losses += (errors.square().mean(),)
        params.data.sub_(2 * lr * (powers * errors).mean(1))  # the derivative by hand
    return losses
""",
    ],
    "init_params": [
        """
def init_params(size, std=1.0):
    return (torch.randn(size) * std).requires_grad_()
""",
        """
def init_params(size, std=1.0):
    return torch.nn.Parameter(torch.empty(size).normal_(0, std))
""",
        """
def init_params(size, std=1.0):
    params = torch.normal(0.0, std, size)
    params.requires_grad = True
    return params
""",
    ],
    "linear1": [
        """
def linear1(xb, weights, bias):
    return xb @ weights + bias
""",
        """
def linear1(xb, weights, bias):
    return (xb * weights.T).sum(dim=1, keepdim=True) + bias
""",
        """
def linear1(xb, weights, bias):
    return torch.stack([(image * weights[:, 0]).sum() + bias for image in xb])
""",
        """
def linear1(xb, weights, bias):
    return torch.nn.functional.linear(xb, weights.T, bias)
""",
    ],
    "mnist_loss": [
        """
def mnist_loss(logits, targets):
    probs = logits.sigmoid()
    return torch.where(targets == 1, 1 - probs, probs).mean()
""",
        """
def mnist_loss(logits, targets):
    return (1 / (1 + torch.exp(-logits)) - targets).abs().mean()
""",
        """
def mnist_loss(logits, targets):
    p = torch.sigmoid(logits)
    return (targets * (1 - p) + (1 - targets) * p).sum() / len(p)
""",
        """
def mnist_loss(logits, targets):
    losses = []
    for logit, target in zip(logits, targets):
        p = 1 / (1 + (-logit).exp())
        losses.append(1 - p if target == 1 else p)
    return torch.cat(losses).mean()
""",
    ],
    "calc_grad": [
        """
def calc_grad(xb, yb, model):
    preds = model(xb)
    loss = mnist_loss(preds, yb)
    loss.backward()
""",
        """
def calc_grad(xb, yb, model):
    p = torch.sigmoid(model(xb))
    torch.where(yb == 1, 1 - p, p).mean().backward()
""",
        """
def calc_grad(xb, yb, model):
    for x, y in zip(xb, yb):  # one image at a time; the gradients add up to those of the batch
        (mnist_loss(model(x[None]), y[None]) / len(xb)).backward()
""",
    ],
}

# Exercise → wrong answers, each with a part of what must be said of it.
WRONG: dict[str, list[tuple[str, str]]] = {
    "mean_image": [
        ("def mean_image(images):\n    return torch.mean(images)\n", "mean of all pixels"),
        ("def mean_image(images):\n    return images.mean(dim=2)\n", "lie along axis 0"),
        (
            """
def mean_image(images):
    total = 0
    for image in images:
        total = total + image
    return total
""",
            "Divide the sum",
        ),
    ],
    "mnist_distance": [
        (
            "def mnist_distance(a, b):\n    return (a - b).sum((-2, -1)) / 784\n",
            "Without `abs`",
        ),
        (
            """
def mnist_distance(a, b):
    return ((a - b) ** 2).mean((-1, -2)).sqrt()
""",
            "RMSE",
        ),
        ("def mnist_distance(a, b):\n    a -= b\n    return a.abs().mean((-1, -2))\n", "`a -= b`"),
    ],
    "is_3": [
        (
            """
def is_3(images, mean3, mean7):
    return mnist_distance(images, mean3) > mnist_distance(images, mean7)
""",
            "nearer to the 7",
        ),
        (
            """
def is_3(images, mean3, mean7):
    to_3 = mnist_distance(images, mean3)
    to_7 = mnist_distance(images, mean7)
    return to_7 - to_3
""",
            "yes or no",
        ),
        (
            """
def is_3(images, mean3, mean7):
    to_3 = torch.abs(images - mean3).mean()
    to_7 = torch.abs(images - mean7).mean()
    return to_3 < to_7
""",
            "one answer for all",
        ),
    ],
    "accuracy": [
        (
            """
def accuracy(answers, targets):
    right = 0
    for answer, target in zip(answers, targets):
        right += int(answer) == int(target)
    return right
""",
            "Divide by the number",
        ),
        (
            """
def accuracy(answers, targets):
    return (answers != targets).sum() / len(targets)
""",
            "wrong answers",
        ),
        (
            """
def accuracy(answers, targets):
    return (answers & (targets == 1)).sum() / (targets == 1).sum()
""",
            "A 7 called a 7",
        ),
    ],
    "derivative": [
        ("def derivative(x):\n    return x**3 * 2 + x**2 * 3 + x * 4 + 1\n", "f itself"),
        ("def derivative(x):\n    return 6 * x**2 + 6 * x + 4 + 1\n", "its derivative is 0"),
        ("def derivative(x):\n    return 3 * 2 * x**3 + 2 * 3 * x**2 + 4 * x\n", "power falls"),
        ("def derivative(x):\n    return 4 + 3 * x + 2 * x * x\n", "power is a factor"),
    ],
    "mse": [
        (
            """
def f(t, params):
    c, b, a = params
    return a * t**2 + b * t + c


def mse(preds, targets):
    return ((preds - targets) ** 2).mean()
""",
            "in this order",
        ),
        (
            """
def f(t, params):
    a, b, c = params
    return a * t**2 + b * t + c


def mse(preds, targets):
    return torch.sqrt(((preds - targets) ** 2).mean())
""",
            "RMSE",
        ),
        (
            """
def f(t, params):
    a, b, c = params.tolist()
    return a * t**2 + b * t + c


def mse(preds, targets):
    return ((preds - targets) ** 2).mean()
""",
            "No gradient comes back",
        ),
        (
            """
def f(t, params):
    a, b, c = params
    return a * t**2 + b * t + c


def mse(preds, targets):
    return ((preds - targets) ** 2).mean().item()
""",
            "No gradient comes back",
        ),
    ],
    "step": [
        (
            """
def step(param, lr):
    param.data += lr * param.grad
    param.grad = None
""",
            "uphill",
        ),
        ("def step(param, lr):\n    param.data -= lr * param.grad\n", "forgot to clear"),
        (
            """
def step(param, lr):
    param = param - lr * param.grad
    param.grad = None
""",
            "a new tensor",
        ),
        (
            """
def step(param, lr):
    param -= lr * param.grad
    param.grad = None
""",
            "must not be recorded",
        ),
    ],
    "seven_steps": [
        (
            """
def seven_steps(time, speed, params, lr, steps):
    losses = []
    for _ in range(steps):
        loss = ((params[0] * time**2 + params[1] * time + params[2] - speed) ** 2).mean()
        loss.backward()
        params.data -= lr * params.grad
        losses.append(loss.item())
    return losses
""",
            "forgot to clear",
        ),
        (
            """
def seven_steps(time, speed, params, lr, steps):
    losses = []
    for _ in range(steps):
        loss = ((params[0] * time**2 + params[1] * time + params[2] - speed) ** 2).mean()
        loss.backward()
        params.data += lr * params.grad
        params.grad.zero_()
        losses.append(loss.item())
    return losses
""",
            "uphill",
        ),
        (
            """
def seven_steps(time, speed, params, lr, steps):
    losses = []
    for _ in range(steps):
        loss = ((params[0] * time**2 + params[1] * time + params[2] - speed) ** 2).mean()
        (grad,) = torch.autograd.grad(loss, params)
        stepped = params - lr * grad
        losses.append(loss.item())
    return losses
""",
            "in place",
        ),
    ],
    "init_params": [
        (
            """
def init_params(size, std=1.0):
    params = torch.rand(*size) * std
    params.requires_grad = True
    return params
""",
            "not `rand`",
        ),
        (
            """
def init_params(size, std=1.0):
    params = torch.randn(*size) * std
    params.requires_grad
    return params
""",
            "at the end",
        ),
        (
            """
def init_params(size, std=1.0):
    return torch.randn(size, requires_grad=True) * std
""",
            "no leaf",
        ),
    ],
    "linear1": [
        ("def linear1(xb, weights, bias):\n    return torch.mm(xb, weights)\n", "Add the bias"),
        (
            "def linear1(xb, weights, bias):\n    return xb * weights.squeeze() + bias\n",
            "only multiplies",
        ),
        (
            "def linear1(xb, weights, bias):\n    return (xb * weights.T).sum(1) + bias\n",
            "a column",
        ),
    ],
    "mnist_loss": [
        (
            """
def mnist_loss(predictions, targets):
    return torch.where(targets == 1, 1 - predictions, predictions).mean()
""",
            "Take the sigmoid",
        ),
        (
            """
def mnist_loss(logits, targets):
    return (logits.sigmoid() - targets).abs().mean().item()
""",
            "No gradient comes back",
        ),
        (
            """
def mnist_loss(logits, targets):
    p = logits.sigmoid()
    return torch.where(targets == 1, p, 1 - p).mean()
""",
            "For a 3 the distance",
        ),
        (
            """
def mnist_loss(logits, targets):
    p = logits.sigmoid()
    return torch.where(targets == 1, 1 - p, p).sum()
""",
            "This is the sum",
        ),
    ],
    "calc_grad": [
        (
            """
def calc_grad(xb, yb, model):
    preds = model(xb)
    loss = mnist_loss(preds, yb)
    return loss
""",
            "needs a `backward()`",
        ),
        (
            "def calc_grad(xb, yb, model):\n    mnist_loss(yb, model(xb)).backward()\n",
            "exchanged the arguments",
        ),
        (
            """
def calc_grad(xb, yb, model):
    preds = torch.sigmoid(model(xb))
    mnist_loss(preds, yb).backward()
""",
            "once more",
        ),
    ],
}
