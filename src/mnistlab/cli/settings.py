"""The settings of a training run as flags; `config.py` has their ranges."""

from typing import Annotated

import typer

from mnistlab.cli import options

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE|PRESET",
        help="Settings from a TOML file or a preset.",
        autocompletion=options.complete_presets,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="linear|two-layer|cnn|resnet18",
        help="What to train.  [default: linear]",
        autocompletion=options.complete_models,
    ),
]
Epochs = Annotated[
    int | None,
    options.whole(
        "--epochs",
        "Passes over the training images.  [default: linear 20, two-layer 40, cnn 2, resnet18 1]",
    ),
]
Lr = Annotated[
    float | None,
    options.real(
        "--lr",
        "Learning rate, its peak in one-cycle.  [default: linear 1.0, two-layer 0.1, cnn "
        "0.01, resnet18 0.003]",
    ),
]
BatchSize = Annotated[
    int | None,
    options.whole("--batch-size", "Images per step.  [default: 256]"),
]
Hidden = Annotated[
    int | None,
    options.whole(
        "--hidden",
        "Width of the hidden layer (two-layer, cnn).  [default: 30, cnn 128]",
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="uniform|normal",
        help="First weights (linear): as nn.Linear draws them, or the chapter's standard "
        "normal.  [default: uniform]",
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="basic|momentum|nesterov|adam|adamw",
        help="How to step.  [default: basic; cnn, resnet18 adam]",
    ),
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="auto|mnist|bce|cross-entropy",
        help="auto: the chapter's mnist_loss for its models on two classes, else cross-entropy.",
    ),
]
Shuffle = Annotated[
    bool | None,
    typer.Option(
        "--shuffle/--no-shuffle",
        show_default=False,
        help="A new order each epoch, or the chapter's fixed one.  [default: shuffle]",
    ),
]
Seed = Annotated[
    int | None,
    options.whole("--seed", "Decides weights and order.  [default: 0]"),
]
Channels = Annotated[
    str | None,
    typer.Option(
        "--channels", metavar="N,N,...", help="Widths of the stages (cnn).  [default: 16,32]"
    ),
]
Depth = Annotated[
    int | None,
    options.whole(
        "--depth",
        "Convolutions a stage, from the second on (cnn).  [default: 1]",
    ),
]
Padding = Annotated[
    bool | None,
    typer.Option(
        "--padding/--no-padding",
        show_default=False,
        help="Keep an image's size through a convolution (cnn).  [default: no-padding]",
    ),
]
BatchNorm = Annotated[
    bool | None,
    typer.Option(
        "--batch-norm/--no-batch-norm",
        show_default=False,
        help="Batch norm behind each convolution (cnn).  [default: no-batch-norm]",
    ),
]
Momentum = Annotated[
    float | None,
    options.real(
        "--momentum",
        "Momentum, Adam's first beta; one-cycle dips 0.1 below.  [default: 0.9, cnn 0.75, "
        "resnet18 0.95]",
    ),
]
Beta2 = Annotated[
    float | None,
    options.real(
        "--beta2",
        "Adam's second beta.  [default: 0.999, cnn 0.9, resnet18 0.99]",
    ),
]
WeightDecay = Annotated[
    float | None,
    options.real(
        "--weight-decay",
        "Shrinks weights each step (adamw).  [default: 0.01]",
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="constant|one-cycle",
        help="How the rate changes from step to step.  [default: constant; cnn, resnet18 "
        "one-cycle]",
    ),
]
Warmup = Annotated[
    float | None,
    options.real(
        "--warmup",
        "Share of the steps until the peak (one-cycle).  [default: 0.25]",
    ),
]
LabelSmoothing = Annotated[
    float | None,
    options.real(
        "--label-smoothing",
        "Share of each target spread over all classes.  [default: 0.0; cnn, resnet18 0.1]",
    ),
]
Augment = Annotated[
    bool | None,
    typer.Option(
        "--augment/--no-augment",
        show_default=False,
        help="Shift, turn and scale the training images a little.  [default: no-augment]",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="fp32|bf16",
        help="bf16 computes the model in bfloat16: faster where the processor can.  "
        "[default: fp32]",
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        "--keep",
        metavar="last|best",
        help="Which epoch's weights are the run's model.  [default: last]",
    ),
]
Patience = Annotated[
    int | None,
    options.whole(
        "--patience",
        "Stop after N epochs without a better one; 0: never.  [default: 0]",
    ),
]
Seeds = Annotated[
    int | None,
    options.whole(
        "--seeds",
        "Train N seeds from --seed on; how much is luck?  [default: 1]",
    ),
]
Threads = Annotated[
    int | None,
    options.whole("--threads", options.THREADS_HELP),
]
OrderSeed = Annotated[
    str | None,
    typer.Option(
        "--order-seed",
        metavar="N|own",
        help="Seed of the order of the batches alone.  [default: own, that of --seed; linear with "
        "--seeds: one order for all]",
    ),
]
MinAccuracy = Annotated[
    float | None,
    typer.Option(
        "--min-accuracy",
        metavar="X",
        min=0,
        max=1,
        show_default=False,
        help="Exit with 3 if the last accuracy (of several seeds: the mean) is below X (0 to 1).",
    ),
]


def number(text: str | None) -> int | str | None:
    """`text` as a whole number if it is one."""
    return int(text) if text is not None and text.isdecimal() else text


def numbers(text: str | None) -> list[int | str | None] | None:
    """`16,32` → [16, 32]; what is no number stays, for `config.py` to refuse."""
    return None if text is None else [number(part.strip()) for part in text.split(",")]
