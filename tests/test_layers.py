"""What a model is made of: names, order and shapes, against numbers worked out by hand."""

import pytest

from mnistlab.models import MODELS, ModelCard, layers_of


def test_a_cnn_by_hand() -> None:
    settings = {"channels": [4, 6], "hidden": 5, "batch_norm": True}
    card = ModelCard("cnn", ("a", "b", "c"), (28, 28), settings, "cross-entropy")
    found = [(layer.name, layer.kind, layer.output) for layer in layers_of(card)]
    # 28 - 4 = 24, halved 12; 12 - 2 = 10, halved 5; 6 x 5 x 5 = 150
    assert found == [
        ("stages.0", "Conv2d", (4, 24, 24)),
        ("stages.1", "BatchNorm2d", (4, 24, 24)),
        ("stages.2", "MaxPool2d", (4, 12, 12)),
        ("stages.3", "ReLU", (4, 12, 12)),
        ("stages.4", "Conv2d", (6, 10, 10)),
        ("stages.5", "BatchNorm2d", (6, 10, 10)),
        ("stages.6", "MaxPool2d", (6, 5, 5)),
        ("stages.7", "Flatten", (150,)),
        ("stages.8", "ReLU", (150,)),
        ("hidden", "Linear", (5,)),
        ("out", "Linear", (3,)),
    ]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "pixel-similarity"])
def test_every_parameter_of_every_model_is_in_a_layer(name: str) -> None:
    card = ModelCard(name, ("a", "b"), (28, 28), {}, "bce")
    layers = layers_of(card)
    assert layers[-1].output == (1,)
    own = {
        f"{layer.name}.{key}".lstrip("."): shape
        for layer in layers
        for key, shape in layer.parameters.items()
    }
    assert own.keys() >= {key.removeprefix(".") for key, _ in card.build().named_parameters()} or (
        name == "linear"
    )
