"""The models. One contract: images float (b, 1, H, W) in 0…1 → logits (b, 1) or (b, C).

`losses.py` says what logits mean. A model is made from plain values (`settings`), so that a file
can say how to make it again. A new model is a class here with a line in `MODELS`, a name and its
settings in `config.py`, and a line in docs/tour.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

import torch
from torch import nn

from mnistlab.config import MODEL_SETTINGS, checked, choices_of
from mnistlab.devices import torchvision
from mnistlab.errors import ConfigError
from mnistlab.losses import LOSSES, losses_for, n_logits
from mnistlab.names import nearest, printable
from mnistlab.own_code import SourceCode

_MAX_SIDE = 2**16  # pixels

# Grey levels of MNIST's training images, 0…1. Nets with many layers train better on inputs around
# zero; for other images a shift and a scale that are merely close do as well.
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081


class LinearModel(nn.Module):
    """One weight per pixel: `xb @ weights + bias`. fastbook ch. 4, `linear1` and `nn.Linear`.

    init `normal` draws weights and bias from a standard normal, as the chapter's `init_params`;
    `uniform` draws them as `nn.Linear` does, from ±1/√pixels.
    weights: (H·W, 1) or (H·W, C); bias: (1,) or (C,).
    """

    def __init__(self, image_size: tuple[int, int], n_classes: int, init: str = "uniform") -> None:
        super().__init__()
        pixels, outputs = image_size[0] * image_size[1], n_logits(n_classes)
        # These weights are at most 1/28 for 784 pixels, so that logits start near 0, where the
        # sigmoid is steep. Standard normal ones give logits around ±10, where it is flat: the first
        # steps of the chapter's own start are small for that reason.
        if init == "normal":
            weights, bias = torch.randn(pixels, outputs), torch.randn(outputs)
        elif init == "uniform":
            # nn.Linear holds its weights the other way round: (outputs, inputs)
            drawn = nn.Linear(pixels, outputs)
            weights, bias = drawn.weight.detach().T.contiguous(), drawn.bias.detach()
        else:
            raise ConfigError(f"init {init}{nearest(init, ('uniform', 'normal'))}")
        self.weights = nn.Parameter(weights)
        self.bias = nn.Parameter(bias)

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → logits (b, 1) or (b, C)."""
        # flatten: (b, 1, 28, 28) → (b, 784), each image one row. @ multiplies each row with the
        # column of weights and adds up: 784 products an image, one logit. The bias broadcasts.
        return xb.flatten(1) @ self.weights + self.bias


class NarrowLinear(nn.Linear):
    """`nn.Linear`, quicker where there are few outputs: (b, n) → (b, few)."""

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        # W x^T, turned back, instead of x W^T: the same sums, but the matrix library needs little
        # more than half the time
        return (self.weight @ xb.T).T + self.bias


class TwoLayerModel(nn.Module):
    """The chapter's `simple_net`: pixels → hidden → ReLU → logits, drawn as `nn.Linear` does."""

    def __init__(self, image_size: tuple[int, int], n_classes: int, hidden: int = 30) -> None:
        super().__init__()
        self.hidden = NarrowLinear(image_size[0] * image_size[1], hidden)
        self.out = nn.Linear(hidden, n_logits(n_classes))

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → logits (b, 1) or (b, C)."""
        # (b, 784) → (b, 30) → ReLU → (b, 1). The ReLU sets what is negative to 0; without it, two
        # linear layers would be no more than one linear layer.
        logits: torch.Tensor = self.out(self.hidden(xb.flatten(1)).relu())
        return logits


class Cosines(nn.Module):
    """A first convolution that is not trained: waves of cosines, each also as its negative.

    (b, 1, H, W) → (b, channels, H', W'), each channel an image in which one wave is looked for.
    Products of a cosine down and a cosine across, those of the fewest waves first: what JPEG sums
    its images up from (N. Ahmed et al., Discrete Cosine Transform, 1974). With nothing to learn
    here, the backward pass ends at the second layer, which makes a step cheaper. The ReLU behind
    keeps what is positive, so either a wave or its negative. They are computed on the CPU: for
    their shapes alone, on "meta", torch would load its compiler, which takes a second.
    """

    def __init__(self, channels: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        at = (torch.arange(kernel, dtype=torch.float64, device="cpu") + 0.5) * math.pi / kernel
        waves = [nn.functional.normalize((at * n).cos(), dim=0) for n in range(kernel)]
        pairs = sorted(product(range(kernel), repeat=2), key=lambda n: n[0] ** 2 + n[1] ** 2)
        both = [torch.outer(waves[down], waves[across]) for down, across in pairs[: channels // 2]]
        filters = torch.stack(both).float().unsqueeze(1) / 2
        self.filters = nn.Buffer(torch.cat([filters, -filters]).to(torch.get_default_device()))

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → (b, channels, H', W')."""
        return nn.functional.conv2d(xb, self.filters, stride=self.stride, padding=self.padding)


class Cnn(nn.Module):
    """A small convolutional net: stages of convolutions, each halving the image, then two layers.

    channels: the width of each stage; the first stage is one convolution, `kernel` pixels wide and
    high, each later one `depth` of 3x3. `stride` 2 or more: the first convolution moves on so many
    pixels, and no stage halves the image. `cosines`: the first convolution is not trained, see
    `Cosines`. `padding` keeps an image's size through a convolution;
    `batch_norm` puts a batch norm behind each; `hidden`: width of the layer before the logits.
    Widths in multiples of 16 are several times as fast on a CPU as others.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        n_classes: int,
        channels: Sequence[int] = (16, 32),
        depth: int = 1,
        hidden: int = 128,
        padding: bool = False,
        batch_norm: bool = False,
        kernel: int = 5,
        stride: int = 1,
        cosines: bool = False,
    ) -> None:
        super().__init__()
        if cosines and (channels[0] % 2 or channels[0] > 2 * kernel**2):
            raise ConfigError(
                f"channels {channels[0]}: cosines of {kernel} x {kernel} pixels are 2 to "
                f"{2 * kernel**2} channels, an even number"
            )
        layers: list[nn.Module] = []
        # The size on the way is counted along, since the first linear layer needs to know how many
        # numbers come out. MNIST: 28 → 24 → 12 → 10 → 5, so 32 x 5 x 5 = 800.
        height, width = image_size
        before = 1  # channels: grey images have one
        for stage, after in enumerate(channels):
            size, step = (kernel, stride) if stage == 0 else (3, 1)
            for _ in range(1 if stage == 0 else depth):
                pad = size // 2 if padding else 0
                if cosines and not layers:
                    layers.append(Cosines(after, size, step, pad))
                else:
                    # a batch norm has a shift of its own: a bias before it would have no effect
                    layers.append(nn.Conv2d(before, after, size, step, pad, bias=not batch_norm))
                layers += [nn.BatchNorm2d(after)] if batch_norm else []
                layers.append(nn.ReLU())
                height, width = ((side + 2 * pad - size) // step + 1 for side in (height, width))
                before = after
            if stride == 1:
                # pooled before the ReLU: the same result from a quarter of the comparisons
                layers.insert(-1, nn.MaxPool2d(2))
                height, width = height // 2, width // 2
        if height < 1 or width < 1:
            raise ConfigError(
                f"channels {','.join(map(str, channels))}: {len(channels)} stages leave nothing of "
                f"images of {image_size[1]} x {image_size[0]}; use fewer, or padding"
            )
        layers.insert(-1, nn.Flatten())  # the last ReLU is slow on channels side by side
        self.stages = nn.Sequential(*layers)
        self.hidden = nn.Linear(before * height * width, hidden)
        self.out = nn.Linear(hidden, n_logits(n_classes))
        # a pixel's channels side by side in memory: what a CPU's convolutions are quickest with
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → logits (b, 1) or (b, C)."""
        # (b, 1, 28, 28) → (b, 32, 5, 5) → (b, 800) → (b, 128) → (b, C)
        features = self.stages((xb - MNIST_MEAN) / MNIST_STD)
        logits: torch.Tensor = self.out(self.hidden(features).relu())
        return logits


class ResNet18(nn.Module):
    """torchvision's resnet18 for grey images, from scratch. He et al., arXiv:1512.03385."""

    def __init__(self, image_size: tuple[int, int], n_classes: int) -> None:
        super().__init__()
        self.net = torchvision().models.resnet18(num_classes=n_logits(n_classes))
        # made for photographs: its first layer takes red, green and blue
        self.net.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → logits (b, 1) or (b, C)."""
        logits: torch.Tensor = self.net((xb - MNIST_MEAN) / MNIST_STD)
        return logits


class PixelSimilarity(nn.Module):
    """The baseline: an image belongs to the class whose mean image is nearest.

    distance: `l1` (mean absolute difference) or `rmse` (root of the mean squared difference).
    means: buffer (C, 1, H, W); nothing is trained. Logits are differences of distances.
    fastbook ch. 4, § "Pixel Similarity".
    """

    def __init__(self, image_size: tuple[int, int], n_classes: int, distance: str = "l1") -> None:
        super().__init__()
        if distance not in ("l1", "rmse"):
            raise ConfigError(f"distance {distance}{nearest(distance, ('l1', 'rmse'))}")
        self.distance = distance
        # A buffer is saved with the weights and moves to the GPU with them, but is not trained.
        self.means = nn.Buffer(torch.zeros(n_classes, 1, *image_size))

    def fit(self, images: torch.Tensor, labels: torch.Tensor) -> "PixelSimilarity":
        """Set the mean image of each class from images uint8 (n, H, W) and labels (n,)."""
        for label in range(len(self.means)):
            # float64: a float32 sum of six thousand images is off in the sixth digit
            mean = images[labels == label].sum(0, dtype=torch.int64).double()
            self.means[label, 0] = (mean / int((labels == label).sum()) / 255).float()
        return self

    def distances(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → the distance to each mean image, (b, C), in 0…1."""
        # (b, 1, 1, H, W) - (C, 1, H, W) broadcasts to every image against every mean
        difference = xb.unsqueeze(1) - self.means
        if self.distance == "l1":
            return difference.abs().mean((2, 3, 4))
        return difference.square().mean((2, 3, 4)).sqrt()

    def forward(self, xb: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, H, W) → logits (b, 1) or (b, C)."""
        distances = self.distances(xb)
        # Nearer means a larger logit. With two classes: positive where the first one is nearer.
        if len(self.means) == 2:
            return distances[:, 1:] - distances[:, :1]
        return -distances


MODELS: dict[str, type[nn.Module]] = {
    "linear": LinearModel,
    "two-layer": TwoLayerModel,
    "cnn": Cnn,
    "resnet18": ResNet18,
    "pixel-similarity": PixelSimilarity,
}


def build_model(
    name: str,
    image_size: tuple[int, int],
    classes: Sequence[str],
    seed: int = 0,
    **settings: Any,
) -> nn.Module:
    """A model with freshly drawn weights: a function of `seed` and the arguments alone.

    Torch's own random state is left as it was. Raises ConfigError for an unknown name or setting.
    """
    return ModelCard(name, tuple(classes), image_size, settings, loss="").build(seed)


@dataclass(frozen=True)
class ModelCard:
    """What a model file says beside the weights: enough to build the model and to use it.

    settings: the model's own arguments. loss: the name of the loss that scores it. ground: the
    grey level around the ink of the training images, 0…1, None if they have no even background;
    `predict` prepares other images to match it, training does not use it. fit: how the images were
    brought to that size, None if they had it. sources: the user's own code, by the setting that
    names it (`model`, `loss`, `optimizer`).
    """

    model: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    settings: dict[str, Any]
    loss: str
    ground: float | None = None
    fit: str | None = None
    sources: dict[str, SourceCode] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As plain data; the sources only where there are any."""
        return {key: value for key, value in asdict(self).items() if value or key != "sources"}

    def build(self, seed: int = 0) -> nn.Module:
        """As `build_model`, for own code too. Raises also as `SourceCode.load`."""
        with torch.random.fork_rng(devices=[]):
            # drawn on the CPU: a GPU's generator gives other numbers for the same seed
            torch.manual_seed(seed)
            if "model" in self.sources:
                model: nn.Module = self.sources["model"].make(**self.arguments())
                return model
            if self.model not in MODELS:
                raise ConfigError(f"model {self.model}{nearest(self.model, MODELS)}")
            try:
                return MODELS[self.model](self.image_size, len(self.classes), **self.settings)
            except TypeError as error:
                raise ConfigError(f"model {self.model}: {printable(error)}") from error

    def arguments(self) -> dict[str, Any]:
        """What an own model is made with."""
        sizes: dict[str, Any] = {"image_size": self.image_size, "n_classes": len(self.classes)}
        sizes["n_logits"] = n_logits(len(self.classes))
        return self.sources["model"].asked(sizes) | self.settings

    def loss_func(self) -> Callable[..., torch.Tensor]:
        """The loss that scores it."""
        return self.sources["loss"].load() if "loss" in self.sources else LOSSES[self.loss]

    def check(self) -> None:
        """Raise ConfigError, which says why, unless a model can be built and used as this says."""
        sides, ground, fitting = self.image_size, self.ground, losses_for(len(self.classes))
        fits = choices_of("fit")
        faults = {
            "classes: two or more different names": {type(name) for name in self.classes} == {str}
            and len(set(self.classes)) == len(self.classes) > 1,
            "image_size: height and width in pixels": [type(side) for side in sides] == [int, int]
            and all(1 <= side <= _MAX_SIDE for side in sides),
            f"model: one of {', '.join(MODELS)}": self.model in MODELS or "model" in self.sources,
            f"loss: one of {', '.join(fitting)}": self.loss in fitting or "loss" in self.sources,
            "ground: a grey level from 0 to 1, or None": ground is None
            or (type(ground) is float and 0 <= ground <= 1),
            f"fit: one of {', '.join(fits)}, or None": self.fit in (None, *fits),
        }
        for needed, holds in faults.items():
            if not holds:
                raise ConfigError(f"the model card needs {needed}")

    def state_shapes(self) -> dict[str, str]:
        """Type and shape of each tensor of the model, as `float32 784 x 1`; nothing is computed.

        Raises ConfigError where the settings are not those of a model that can be built.
        """
        self.check()
        try:
            # the ranges of the settings, so that no card asks for a hundred thousand layers
            checked({key: self.settings[key] for key in MODEL_SETTINGS if key in self.settings})
            with torch.device("cpu" if "model" in self.sources else "meta"):
                return shapes_of(self.build().state_dict())
        except (ValueError, TypeError, RuntimeError, OverflowError) as error:
            raise ConfigError(f"its model cannot be built: {printable(error)[:200]}") from error


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Type and shape of each tensor, as `float32 784 x 1`."""
    return {
        name: f"{tensor.dtype} {' x '.join(map(str, tensor.shape))}".removeprefix("torch.").strip()
        for name, tensor in tensors.items()
    }


@dataclass(frozen=True)
class Layer:
    """One module: its name in the model, its class, what it gives for one image, its parameters.

    output: shape without the batch. parameters: name → shape of those that are the module's own.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: dict[str, tuple[int, ...]]


def layers_of(card: ModelCard) -> list[Layer]:
    """The layers of a model in order of use; nothing is computed and no weight is drawn.

    A layer is a module without parts of its own, or one with parameters of its own.
    """
    layers: list[Layer] = []

    def hook(name: str, parameters: dict[str, tuple[int, ...]]) -> Callable[..., None]:
        return lambda module, _, output: layers.append(
            Layer(name, type(module).__name__, tuple(getattr(output, "shape", ())[1:]), parameters)
        )

    device = "cpu" if "model" in card.sources else "meta"  # shapes without values
    with torch.no_grad(), torch.device(device):
        model = card.build().eval()
        for name, module in model.named_modules():
            own = {key: tuple(param.shape) for key, param in module.named_parameters(recurse=False)}
            if own or not list(module.children()):
                module.register_forward_hook(hook(name, own))
        model(torch.zeros(1, 1, *card.image_size))
    return layers
