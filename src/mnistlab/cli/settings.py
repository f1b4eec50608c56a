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
        metavar="linear|two-layer",
        help="What to train.  [default: linear]",
        autocompletion=options.complete_models,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="N",
        help="Passes over the training images.  [default: linear 20, two-layer 40]",
    ),
]
Lr = Annotated[
    float | None,
    typer.Option("--lr", metavar="X", help="Learning rate.  [default: linear 1.0, two-layer 0.1]"),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", help="Images per step.  [default: 256]"),
]
Hidden = Annotated[
    int | None,
    typer.Option(
        "--hidden", metavar="N", help="Width of the hidden layer (two-layer).  [default: 30]"
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
    typer.Option("--optimizer", metavar="basic", help="How to step.  [default: basic]"),
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="auto|mnist|bce|cross-entropy",
        help="auto: the chapter's mnist_loss for two classes, else cross-entropy.",
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
    typer.Option("--seed", metavar="N", help="Decides weights and order.  [default: 0]"),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        "--seeds", metavar="N", help="Train N seeds from --seed on; how much is luck?  [default: 1]"
    ),
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
