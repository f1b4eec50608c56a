"""What a model is made of, in the order in which an image passes through it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

Hook = Callable[[nn.Module, object, torch.Tensor], None]


@dataclass(frozen=True)
class Layer:
    """One module: its name in the model, its class, what it gives for one image, its parameters.

    output: shape without the batch. parameters: name → shape of those that are the module's own.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: dict[str, tuple[int, ...]]

    @property
    def numbers(self) -> int:
        """How many numbers the parameters hold."""
        return sum(torch.Size(shape).numel() for shape in self.parameters.values())


def layers_of(model: nn.Module, image_size: tuple[int, int]) -> list[Layer]:
    """The layers of `model` for images of (H, W), in order of use; nothing is computed.

    A layer is a module without parts of its own, or one with parameters of its own.
    """
    shadow = copy.deepcopy(model).to("meta").eval()  # shapes without values
    found: list[Layer] = []
    for name, module in shadow.named_modules():
        own = {key: tuple(param.shape) for key, param in module.named_parameters(recurse=False)}
        if own or not list(module.children()):
            module.register_forward_hook(_noting(name, own, found))
    with torch.no_grad():
        shadow(torch.empty(1, 1, *image_size, device="meta"))
    return found


def _noting(name: str, own: dict[str, tuple[int, ...]], found: list[Layer]) -> Hook:
    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        found.append(Layer(name, type(module).__name__, tuple(output.shape[1:]), own))

    return note
