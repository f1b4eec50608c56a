"""The models: one contract for all, and each against what it should compute."""

from typing import Any

import pytest
import torch
from torch import nn

from mnistlab.errors import ConfigError
from mnistlab.models import (
    MODELS,
    LinearModel,
    ModelCard,
    PixelSimilarity,
    TwoLayerModel,
    build_model,
    layers_of,
)

SIZES = [(28, 28), (1, 1), (5, 9), (64, 32)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_every_model_keeps_the_contract(name: str, size: tuple[int, int], n_classes: int) -> None:
    settings: dict[str, Any] = {"channels": [8], "padding": True} if name == "cnn" else {}
    if name == "cnn" and size == (1, 1):
        return  # nothing to pool
    model = build_model(name, size, [str(k) for k in range(n_classes)], **settings).eval()
    logits = model(torch.rand(4, 1, *size))
    assert logits.shape == (4, 1 if n_classes == 2 else n_classes)
    assert logits.dtype == torch.float32


def test_linear_uniform_draws_what_nn_linear_draws() -> None:
    model = build_model("linear", (28, 28), "37", seed=5)
    torch.manual_seed(5)
    reference = nn.Linear(784, 1)
    xb = torch.rand(9, 1, 28, 28)
    assert torch.equal(model.weights, reference.weight.T)  # type: ignore[arg-type]
    assert torch.equal(model.bias, reference.bias)  # type: ignore[arg-type]
    torch.testing.assert_close(model(xb), reference(xb.flatten(1)))


def test_linear_normal_is_the_chapters_initialisation() -> None:
    model = build_model("linear", (28, 28), "37", seed=5, init="normal")
    torch.manual_seed(5)
    weights, bias = torch.randn(784, 1), torch.randn(1)
    xb = torch.rand(9, 1, 28, 28)
    assert torch.equal(model(xb), xb.flatten(1) @ weights + bias)


def test_two_layer_is_the_chapters_simple_net() -> None:
    model = build_model("two-layer", (28, 28), "37", seed=5)
    torch.manual_seed(5)
    reference = nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 1))
    xb = torch.rand(9, 1, 28, 28)
    ours = model.state_dict().values()
    assert all(
        torch.equal(*pair) for pair in zip(ours, reference.state_dict().values(), strict=True)
    )
    torch.testing.assert_close(model(xb), reference(xb.flatten(1)))
    assert sum(p.numel() for p in model.parameters()) == 784 * 30 + 30 + 30 + 1


def test_pixel_similarity_by_hand_on_two_by_two_images() -> None:
    # class 0: mean of all-0 and all-102 → 51/255 = 0.2; class 1: all 255 → 1.0
    images = torch.tensor([[[0, 0], [0, 0]], [[102, 102], [102, 102]], [[255, 255], [255, 255]]])
    labels = torch.tensor([0, 0, 1])
    xb = torch.tensor([[[[0.2, 0.6], [0.2, 0.6]]]])
    for distance, to_first, to_second in (
        ("l1", 0.2, 0.6),  # |0, .4, 0, .4| → .2; |.8, .4, .8, .4| → .6
        ("rmse", (0.32 / 4) ** 0.5, (1.6 / 4) ** 0.5),
    ):
        model = PixelSimilarity((2, 2), 2, distance).fit(images.to(torch.uint8), labels)
        assert model.distances(xb)[0].tolist() == pytest.approx([to_first, to_second])
        assert model(xb).item() == pytest.approx(to_second - to_first)


def test_pixel_similarity_with_three_classes_prefers_the_nearest() -> None:
    images = torch.stack([torch.full((2, 2), level, dtype=torch.uint8) for level in (0, 128, 255)])
    model = PixelSimilarity((2, 2), 3).fit(images, torch.tensor([0, 1, 2]))
    assert model(torch.full((1, 1, 2, 2), 0.45)).argmax().item() == 1


def test_the_mean_image_is_exact_where_float32_sums_are_not() -> None:
    images = torch.full((100_001, 1, 1), 254, dtype=torch.uint8)
    model = PixelSimilarity((1, 1), 2).fit(images, torch.cat([torch.zeros(100_000), torch.ones(1)]))
    assert model.means[0].item() == torch.tensor(254 / 255).item()


def test_building_a_model_leaves_torchs_random_state_alone_and_depends_on_the_seed_only() -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    first = build_model("linear", (4, 4), "ab", seed=9)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    second = build_model("linear", (4, 4), "ab", seed=9)
    other = build_model("linear", (4, 4), "ab", seed=10)
    assert torch.equal(first.weights, second.weights)  # type: ignore[arg-type]
    assert not torch.equal(first.weights, other.weights)  # type: ignore[arg-type]


def test_unknown_names_and_settings_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean linear"):
        build_model("lineer", (4, 4), "ab")
    with pytest.raises(ConfigError, match="hiden"):
        build_model("two-layer", (4, 4), "ab", hiden=3)
    with pytest.raises(ConfigError, match="init"):
        LinearModel((4, 4), 2, init="norml")
    with pytest.raises(ConfigError, match="did you mean rmse"):
        PixelSimilarity((4, 4), 2, "rsme")
    assert isinstance(build_model("two-layer", (4, 4), "ab", hidden=3), TwoLayerModel)


def test_the_cnn_computes_what_its_layers_say() -> None:
    model = build_model("cnn", (28, 28), "0123456789", seed=3)
    torch.manual_seed(3)
    reference = nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    ours = model.state_dict().values()
    for mine, layers in zip(ours, reference.state_dict().values(), strict=True):
        assert torch.equal(mine, layers)
    xb = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(model(xb), reference((xb - 0.1307) / 0.3081))


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({}, 5 * 5 * 16 + 16 + 9 * 16 * 32 + 32 + 800 * 128 + 128 + 128 * 10 + 10),
        ({"channels": [4], "hidden": 8}, 104 + (12 * 12 * 4 * 8 + 8) + 90),
        (
            {"channels": [4, 8], "depth": 2, "padding": True, "batch_norm": True, "hidden": 8},
            (100 + 8) + (9 * 32 + 16) + (9 * 64 + 16) + (7 * 7 * 8 * 8 + 8) + 90,
        ),
    ],
)
def test_the_cnns_settings_make_the_net_they_name(
    settings: dict[str, Any], parameters: int
) -> None:
    model = build_model("cnn", (28, 28), "0123456789", **settings)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_a_stride_takes_the_place_of_pooling() -> None:
    model = build_model("cnn", (28, 28), "0123456789", channels=[4, 8], kernel=7, stride=3)
    kinds = [type(layer).__name__ for layer in model.get_submodule("stages").children()]
    assert kinds == ["Conv2d", "ReLU", "Conv2d", "Flatten", "ReLU"]
    settings = {"channels": [4, 8], "kernel": 7, "stride": 3}
    card = ModelCard("cnn", tuple("0123456789"), (28, 28), settings, "cross-entropy")
    shapes = [layer.output for layer in layers_of(card)]
    assert shapes[0] == (4, 8, 8)
    assert shapes[2] == (8, 6, 6)


def test_cosines_are_those_of_the_discrete_cosine_transform_and_stay_as_they_are() -> None:
    import scipy.fft

    model = build_model("cnn", (28, 28), "0123456789", channels=[8, 8], kernel=7, cosines=True)
    [filters] = [tensor for name, tensor in model.state_dict().items() if "filters" in name]
    pixels = torch.eye(49).reshape(49, 7, 7).double().numpy()  # one pixel after the other is 1
    waves = torch.from_numpy(scipy.fft.dctn(pixels, axes=(1, 2), norm="ortho")).float()
    for place, (down, across) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        expected = waves[:, down, across].reshape(7, 7) / 2
        torch.testing.assert_close(filters[place, 0], expected)
    assert torch.equal(filters[4:], -filters[:4])
    assert all("filters" not in name for name, _ in model.named_parameters())
    for channels in (7, 100):
        with pytest.raises(ConfigError, match="cosines of 7 x 7 pixels are 2 to 98 channels"):
            build_model("cnn", (28, 28), "ab", channels=[channels], kernel=7, cosines=True)


def test_images_too_small_for_the_stages_are_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="2 stages leave nothing of images of 9 x 8; use fewer"):
        build_model("cnn", (8, 9), "ab")
    build_model("cnn", (8, 9), "ab", padding=True)


def test_resnet18_is_torchvisions_but_for_its_first_layer() -> None:
    from mnistlab.devices import torchvision

    model = build_model("resnet18", (28, 28), "37", seed=4)
    reference = torchvision().models.resnet18(num_classes=1).state_dict()
    ours = {name.removeprefix("net."): tensor for name, tensor in model.state_dict().items()}
    assert ours.keys() == reference.keys()
    differing = [name for name, tensor in ours.items() if tensor.shape != reference[name].shape]
    assert differing == ["conv1.weight"]
    # He's initialisation of a layer that takes one channel: sd sqrt(2 / (64 * 49))
    assert float(ours["conv1.weight"].std()) == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)
