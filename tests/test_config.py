"""The settings: ranges, precedence, origins, presets, and every fault at once."""

import tempfile
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnistlab import resolving as module
from mnistlab.config import (
    MODEL_DEFAULTS,
    MODEL_NAMES,
    SETTINGS,
    ModelName,
    TrainConfig,
    checked,
    choices_of,
)
from mnistlab.errors import ConfigError
from mnistlab.resolving import Resolved, find_config, presets, read_toml, resolve, to_toml
from tests.conftest import CHECKOUT

DEEP: dict[str, Any] = {
    "batch_size": 256, "optimizer": "adam", "schedule": "one-cycle", "label_smoothing": 0.1,
    "threads": 0, "precision": "auto",
}  # fmt: skip
CNN = {**DEEP, "model": "cnn", "channels": [16, 32], "hidden": 128} | {
    "lr": 0.01, "momentum": 0.75, "beta2": 0.9,
}  # fmt: skip
FAST = {"channels": [32, 48], "kernel": 7, "stride": 3, "cosines": True, "hidden": 64}
PRESETS: dict[str, dict[str, Any]] = {
    "linear": {"model": "linear", "epochs": 20, "lr": 1.0, "batch_size": 256},
    "two-layer": {
        "model": "two-layer",
        "hidden": 30,
        "epochs": 40,
        "lr": 0.1,
        "batch_size": 256,
    },
    "book-linear": {
        "model": "linear",
        "init": "uniform",
        "loss": "mnist",
        "optimizer": "basic",
        "epochs": 20,
        "lr": 1.0,
        "batch_size": 256,
        "shuffle": False,
    },
    "book-two-layer": {
        "model": "two-layer",
        "hidden": 30,
        "loss": "mnist",
        "optimizer": "basic",
        "epochs": 40,
        "lr": 0.1,
        "batch_size": 256,
        "shuffle": False,
    },
    "cnn": {**CNN, **FAST, "epochs": 2, "batch_size": 128},
    "resnet18": {**DEEP, "model": "resnet18", "epochs": 1}
    | {"lr": 0.003, "momentum": 0.95, "beta2": 0.99},
    "mnist-cnn": {**CNN, **FAST, "data": "mnist", "epochs": 1},
    "mnist-best": {**CNN, "data": "mnist", "epochs": 16}
    | {"channels": [16, 32, 64], "depth": 2, "padding": True, "batch_norm": True}
    | {"optimizer": "adamw", "lr": 0.005, "momentum": 0.95, "beta2": 0.99}
    | {"weight_decay": 0.02, "augment": True},
}

property_test = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def written(tmp_path: Path, text: str, name: str = "own.toml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def fault_of(flags: dict[str, Any], source: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(flags, source)
    return str(caught.value).split("\n")


# presets


def test_the_presets_are_exactly_these_files() -> None:
    assert set(presets()) == set(PRESETS)
    assert {path.name for path in (CHECKOUT / "configs").iterdir()} == {
        f"{name}.toml" for name in PRESETS
    }
    assert list(presets()) == sorted(presets())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_gives_its_settings(name: str) -> None:
    resolved = resolve({}, name)
    for key, value in asdict(TrainConfig()).items():
        assert getattr(resolved.config, key) == PRESETS[name].get(key, value), key
        origin = f"config {name}" if key in PRESETS[name] else "default"
        assert resolved.origins[key] == origin, key


@pytest.mark.parametrize("name", sorted(set(MODEL_NAMES) - {"pixel-similarity"}))
def test_the_preset_of_a_model_repeats_its_defaults(name: str) -> None:
    # that of cnn is made for digits of 28 x 28, the defaults for any images
    other = {**FAST, "batch_size": 128} if name == "cnn" else {}
    assert resolve({}, name).config == resolve({"model": name, **other}).config


# precedence and origins


def test_without_anything_the_defaults_hold() -> None:
    resolved = resolve({})
    assert resolved.config == TrainConfig(model="linear", epochs=20, lr=1.0)
    assert resolved.origins == {
        **dict.fromkeys(SETTINGS, "default"),
        "epochs": "default of linear",
        "lr": "default of linear",
    }


def test_a_flag_goes_before_the_file_and_that_before_the_default(tmp_path: Path) -> None:
    source = written(tmp_path, 'model = "two-layer"\nlr = 0.5\nseed = 4\n')
    resolved = resolve({"lr": 0.25, "hidden": None, "batch_size": 8}, source)
    config, origins = resolved.config, resolved.origins
    assert (config.lr, origins["lr"]) == (0.25, "--lr")
    assert (config.batch_size, origins["batch_size"]) == (8, "--batch-size")
    assert (config.seed, origins["seed"]) == (4, f"config {source}")
    assert (config.model, origins["model"]) == ("two-layer", f"config {source}")
    assert (config.epochs, origins["epochs"]) == (40, "default of two-layer")
    assert (config.hidden, origins["hidden"]) == (30, "default")


def test_the_defaults_of_the_model_follow_the_flag(tmp_path: Path) -> None:
    source = written(tmp_path, 'model = "two-layer"\nseed = 4\n')
    resolved = resolve({"model": "linear"}, source)
    assert (resolved.config.epochs, resolved.config.lr) == (20, 1.0)
    assert resolved.origins["epochs"] == "default of linear"


def test_a_file_goes_before_the_default_of_another_model() -> None:
    resolved = resolve({"model": "two-layer"}, "linear")
    assert (resolved.config.epochs, resolved.origins["epochs"]) == (20, "config linear")


def test_a_false_flag_is_a_given_flag() -> None:
    resolved = resolve({"shuffle": False})
    assert resolved.config.shuffle is False
    assert resolved.origins["shuffle"] == "--shuffle"


def test_a_setting_stands_in_one_place_with_its_help_and_what_it_needs() -> None:
    assert list(SETTINGS) == [field.name for field in fields(TrainConfig)]
    for key, setting in SETTINGS.items():
        assert setting.help.endswith("."), key
        for other, values in setting.needs.items():
            assert set(values) <= set(choices_of(other)), key
    assert set(MODEL_DEFAULTS) <= {*MODEL_NAMES, "own models"}
    for model in MODEL_NAMES:
        checked({"model": model, **MODEL_DEFAULTS.get(model, {})})


# refusals


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"model": "linaer"}, "--model: not a known name; did you mean linear? (got 'linaer')"),
        ({"loss": "mnits"}, "--loss: not a known name; did you mean mnist? (got 'mnits')"),
        ({"optimizer": "adamm"}, "--optimizer: not a known name; did you mean adam? (got 'adamm')"),
        ({"epochs": 0}, "--epochs: input should be greater than or equal to 1 (got 0)"),
        ({"lr": float("nan")}, "--lr: input should be a finite number (got nan)"),
        ({"lr": float("inf")}, "--lr:"),
        ({"lr": 0.0}, "--lr: input should be greater than 0 (got 0.0)"),
        ({"batch_size": -1}, "--batch-size: input should be greater than or equal to 1 (got -1)"),
        ({"seed": -1}, "--seed:"),
        ({"seed": 2**63}, "--seed:"),
        ({"seed": 10**30}, "--seed:"),
        ({"threads": 5000}, "--threads:"),
        ({"data": ""}, "--data:"),
        ({"data": "\udcff"}, "--data:"),
        ({"device": "cpus"}, "--device: not a known name; did you mean cpu? (got 'cpus')"),
        ({"device": "cuda:1"}, "--device: not a known name; did you mean cuda? (got 'cuda:1')"),
        ({"hidden": 5}, "--hidden: needs --model two-layer or cnn, not linear"),
        ({"init": "normal", "model": "two-layer"}, "--init: needs --model linear, not two-layer"),
    ],
)
def test_a_wrong_flag_is_refused(flags: dict[str, Any], told: str) -> None:
    [line] = fault_of(flags)
    assert line.startswith(told)


def test_a_setting_is_not_refused_for_a_model_that_nobody_knows() -> None:
    [line] = fault_of({"model": "linaer", "hidden": 5})
    assert line.startswith("--model:")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    source = written(tmp_path, 'loss = "bee"\nbatch_size = 0\nshuffle = "yes"\nseed = 1.5\n')
    lines = fault_of({"epochs": 0, "hidden": 3}, source)
    starts = ("--hidden", "--epochs", "batch_size", "loss", "shuffle", "seed")
    assert sorted(line.split(":")[0].split(" ")[0] for line in lines) == sorted(starts)
    assert f"batch_size (config {source}): input should be" in "\n".join(lines)


def test_a_setting_of_another_model_is_left_aside_in_a_file(tmp_path: Path) -> None:
    source = written(tmp_path, 'model = "linear"\nhidden = 7\n')
    assert resolve({}, source).config.hidden == 7


def test_every_unknown_setting_of_a_file_is_told_with_its_nearest(tmp_path: Path) -> None:
    source = written(tmp_path, 'batchsize = 3\nepoch = 3\n"\\u001b[2J" = 1\n')
    lines = fault_of({}, source)
    assert lines[0] == f"{source}: unknown setting batchsize; did you mean batch_size?"
    assert lines[1] == f"{source}: unknown setting epoch; did you mean epochs?"
    assert lines[2].startswith(f"{source}: unknown setting \\x1b[2J; known: model, data, ")
    assert len(lines) == 3


def test_a_run_to_begin_with_that_is_no_text_does_not_hide_what_else_is_wrong(
    tmp_path: Path,
) -> None:
    source = written(tmp_path, "from_run = [1, 2]\nepochs = -1\n")
    with pytest.raises(ConfigError, match=r"epochs \(.*\n.*from_run \(|from_run \(.*\n.*epochs \("):
        resolve({}, source)


def test_an_unknown_setting_of_a_file_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    source = written(tmp_path, "epoch = 3\nlr = -1.0\n")
    told = fault_of({"seed": -1}, source)
    assert [line.split(":")[0] for line in told] == [source, f"lr (config {source})", "--seed"]


def test_of_a_long_value_only_the_beginning_is_told() -> None:
    [line] = fault_of({"model": "x" * 5000})
    assert line.endswith("xxx..., 5,002 characters)")
    assert len(line) < 300


def test_an_unknown_preset_is_told_with_its_nearest() -> None:
    assert fault_of({}, "book-liner") == [
        "--config book-liner: no such file or preset; did you mean book-linear?"
    ]
    assert fault_of({}, "q") == [
        "--config q: no such file or preset; known: book-linear, book-two-layer, cnn, linear, "
        "mnist-best, mnist-cnn, resnet18, two-layer"
    ]


@pytest.mark.parametrize("source", ["\0", "x" * 5000, "x" * 5000 + ".toml"])
def test_a_name_that_no_file_can_have_is_refused(source: str) -> None:
    assert fault_of({}, source)[0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"epochs = ", "not valid TOML"),
        (b"epochs = 1\nepochs = 2", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML: 'utf-8' codec"),
        (b"a = " + b"[" * 20_000, "not valid TOML"),
        (b"# " + b"x" * 1_000_000, "larger than 1,000,000 bytes"),
        (b"d = 2001-13-45", "not valid TOML"),
        (b"[model]\nx = 1", "model (config"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    [line] = fault_of({}, str(path))
    assert told in line
    assert str(path) in line


def test_a_file_that_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    assert fault_of({}, "absent.toml") == ["absent.toml: cannot be read: No such file or directory"]
    (tmp_path / "folder.toml").mkdir()
    assert fault_of({}, "folder.toml")[0].startswith("folder.toml: cannot be read: ")


def test_a_file_goes_before_the_preset_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "linear").write_text("seed = 9\n")
    assert find_config("linear") == Path("linear")
    assert resolve({}, "linear").config.seed == 9
    assert find_config("two-layer").name == "two-layer.toml"


@pytest.mark.parametrize("text", ["\ufeffseed = 9\n", "seed = 9\r\nlr = 0.5\r\n"])
def test_a_file_of_another_system_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(text.encode())
    assert read_toml(path)["seed"] == 9


def test_a_missing_configs_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "packaged", lambda folder: tmp_path / folder)
    assert presets() == {}


# properties

plain = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["linear", "two-layer", "auto", "mnist", "bce", "cpu", "uniform", "basic"]),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
keys = st.one_of(st.sampled_from(sorted(SETTINGS)), st.text(max_size=8))


@property_test
@given(st.dictionaries(keys, plain, max_size=6), st.booleans())
def test_any_file_gives_a_config_or_a_config_error(
    content: dict[str, Any], with_flags: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.toml"
        path.write_text(tomli_w.dumps(content), encoding="utf-8")
        try:
            resolved = resolve({"hidden": 4} if with_flags else {}, str(path))
        except ConfigError as error:
            message = str(error)
        else:
            for key, value in content.items():
                assert getattr(resolved.config, key) == value
                assert resolved.origins[key] == f"config {path}"
            return
    assert message
    assert all(line.isprintable() for line in message.split("\n"))


@property_test
@given(st.dictionaries(st.sampled_from(sorted(SETTINGS)), plain, max_size=5))
def test_any_flags_give_a_config_or_a_config_error(flags: dict[str, Any]) -> None:
    try:
        resolved = resolve(flags)
    except ConfigError:
        return  # any other error fails the test
    assert flags.items() <= asdict(resolved.config).items()


configs = st.builds(
    TrainConfig,
    model=st.sampled_from(get_args(ModelName)),
    data=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    epochs=st.integers(1, 100_000),
    lr=st.floats(1e-300, 1e38),
    batch_size=st.integers(1, 2**31),
    init=st.sampled_from(["uniform", "normal"]),
    hidden=st.integers(1, 2**20),
    channels=st.lists(st.integers(1, 2**16), min_size=1, max_size=4),
    optimizer=st.sampled_from(["basic", "momentum", "nesterov", "adam", "adamw"]),
    momentum=st.floats(0, 0.999),
    schedule=st.sampled_from(["constant", "one-cycle"]),
    order_seed=st.sampled_from(["own", 0, 7]),
    loss=st.sampled_from(["auto", "mnist", "bce", "cross-entropy"]),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    device=st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    threads=st.integers(0, 4096),
    skip_bad=st.booleans(),
)


@property_test
@given(configs)
def test_a_written_config_reads_back_the_same(config: TrainConfig) -> None:
    text = to_toml(config.applicable(), {"lr": "--lr"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(text, encoding="utf-8")
        values, again = read_toml(path), resolve({}, str(path)).config
    assert tomllib.loads(text) == values
    # all but the settings of other models and optimizers, which mean nothing to this one
    expected = config.applicable()
    assert {"model", "data"} <= expected.keys()
    assert values == expected
    assert {key: getattr(again, key) for key in expected} == expected


def test_a_written_config_names_the_origin_of_every_setting() -> None:
    resolved: Resolved = resolve({"lr": 0.5, "model": "two-layer"})
    text = to_toml(resolved.config.applicable(), resolved.origins)
    assert "lr = 0.5                     # --lr\n" in text
    assert "epochs = 40                  # default of two-layer\n" in text
    assert "init" not in text
    assert "momentum" not in text
    written = resolved.config.applicable()
    assert to_toml(written, {}).count("# default") == len(written)


@pytest.mark.parametrize(
    ("key", "needs"),
    [
        ({"hidden": 3, "model": "linear"}, {"model": "two-layer"}),
        ({"init": "normal", "model": "cnn"}, {"model": "linear"}),
        ({"depth": 2, "model": "resnet18"}, {"model": "cnn"}),
        ({"momentum": 0.5}, {"optimizer": "momentum"}),
        ({"beta2": 0.5, "optimizer": "nesterov"}, {"optimizer": "adam"}),
        ({"weight_decay": 0.5, "optimizer": "adam"}, {"optimizer": "adamw"}),
        ({"warmup": 0.5}, {"schedule": "one-cycle"}),
    ],
)
def test_a_flag_that_would_mean_nothing_is_refused(
    key: dict[str, Any], needs: dict[str, Any]
) -> None:
    flag = next(iter(key))
    with pytest.raises(ConfigError, match=f"--{flag.replace('_', '-')}: "):
        resolve(key)
    resolve({flag: key[flag], **needs})


def test_seeds_share_an_order_only_where_they_train_at_once() -> None:
    assert resolve({"seeds": 3, "seed": 4}).config.order_seed == 4
    assert resolve({"seeds": 3, "seed": 4}).config.is_wide
    assert resolve({"seeds": 31}).config.threads == 1
    assert resolve({"seeds": 32}).config.threads == 0
    assert resolve({"seeds": 32, "threads": 1}).config.threads == 1
    assert not resolve({"seeds": 3, "order_seed": "own"}).config.is_wide
    assert resolve({"seeds": 3, "order_seed": "own", "shuffle": False}).config.is_wide
    assert resolve({"seeds": 3, "model": "cnn"}).config.order_seed == "own"
    # two-layer ones only where it is asked for: each equals its own run otherwise
    for own in ({}, {"shuffle": False}):
        alone = resolve({"seeds": 3, "model": "two-layer", **own}).config
        assert (alone.is_wide, alone.threads) == (False, 1)
    wide = resolve({"seeds": 3, "model": "two-layer", "order_seed": 4}).config
    assert (wide.is_wide, wide.threads) == (True, 0)
    for plain in ({"augment": True}, {"schedule": "one-cycle"}, {"precision": "bf16"}):
        assert not resolve({"seeds": 3, **plain}).config.is_wide
    with pytest.raises(ConfigError, match="patience and keep are of one seed"):
        resolve({"seeds": 3, "patience": 2})
