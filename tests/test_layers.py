"""What a model is made of: names, order and shapes, against numbers worked out by hand."""

import pytest
import torch

from mnistlab.models import MODELS, build_model, layers_of


def test_a_cnn_by_hand() -> None:
    model = build_model("cnn", (28, 28), "abc", channels=[4, 6], hidden=5, batch_norm=True)
    found = [(layer.name, layer.kind, layer.output) for layer in layers_of(model, (28, 28))]
    # 28 - 4 = 24, halved 12; 12 - 2 = 10, halved 5
    assert found == [
        ("stages.0", "Conv2d", (4, 24, 24)),
        ("stages.1", "BatchNorm2d", (4, 24, 24)),
        ("stages.2", "MaxPool2d", (4, 12, 12)),
        ("stages.3", "ReLU", (4, 12, 12)),
        ("stages.4", "Conv2d", (6, 10, 10)),
        ("stages.5", "BatchNorm2d", (6, 10, 10)),
        ("stages.6", "MaxPool2d", (6, 5, 5)),
        ("stages.7", "ReLU", (6, 5, 5)),
        ("hidden", "Linear", (5,)),
        ("out", "Linear", (3,)),
    ]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "pixel-similarity"])
def test_every_parameter_of_every_model_is_in_a_layer(name: str) -> None:
    model = build_model(name, (28, 28), "ab")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    layers = layers_of(model, (28, 28))
    assert layers[-1].output == (1,)
    own = {
        f"{layer.name}.{key}".lstrip("."): shape
        for layer in layers
        for key, shape in layer.parameters.items()
    }
    assert own == {key: tuple(param.shape) for key, param in model.named_parameters()}
    assert sum({layer.name: layer.numbers for layer in layers}.values()) == sum(
        param.numel() for param in model.parameters()
    )
    after = model.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
