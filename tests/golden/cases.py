"""The command lines whose results are frozen, in groups that the tests share out.

A case is a list of lines that run in a folder of their own. A line is a command of `mnistlab`,
without that word, or one of these helpers, which stand for what a user does between two commands:

    copy NAME           copy tests/golden/runs/NAME to runs/NAME
    edit FILE OLD NEW   replace a text in a file
    damage FILE         change one byte in the middle of a file
    hash PATH           freeze the content of a file or a folder (of an image, its pixels)
    script FILE         run a Python file on the bundled data, freeze the last line that it prints
    page FILE           freeze whether a file is one HTML page

RUN1 is the name of the first run that the case made, RUN2 of the second. `digits` is a folder of
made images of ten classes, `spoiled` the same with one file that is no image.
"""

from collections.abc import Iterable

Case = list[str]

LINEAR = "train --json --model linear --epochs 2"
TWO_LAYER = "train --json --model two-layer --hidden 8 --epochs 2"
# `auto` would be bf16 on some processors and fp32 on others
CNN = "train --json --model cnn --channels 4,8 --hidden 8 --epochs 2 --threads 1 --data digits"
CNN += " --precision fp32"


PRESETS = {
    "linear": "--epochs 3",
    "book-linear": "--epochs 3",
    "two-layer": "--epochs 2",
    "book-two-layer": "--epochs 2",
    "cnn": "--epochs 2 --data digits --precision fp32",
    "mnist-cnn": "--epochs 2 --data digits --precision fp32",
    "mnist-best": "--epochs 1 --data digits --precision fp32",
    "resnet18": "--epochs 1 --data digits --precision fp32",
}
KINDS = [(1, "shuffle"), (2, "no-shuffle"), (1, "no-shuffle"), (2, "shuffle")]


def _presets(names: Iterable[str], kinds: list[tuple[int, str]]) -> dict[str, Case]:
    return {
        f"{name}, threads {threads}, {order}": [
            f"train --json --config {name} {PRESETS[name]} --threads {threads} --{order}"
        ]
        for name in names
        for threads, order in kinds
    }


GROUPS: dict[str, dict[str, Case]] = {
    "presets": _presets([name for name in PRESETS if name != "resnet18"], KINDS[:1])
    | _presets(["linear", "two-layer", "mnist-cnn"], KINDS[1:2]),
    "settings": {
        "cnn on 3 and 7": ["train --json --config cnn --epochs 1 --threads 1 --precision fp32"],
        "dry run": ["train --json --dry-run --config two-layer --threads 1"],
        "normal": [f"{LINEAR} --init normal --seed 7"],
        "bce": [f"{LINEAR} --loss bce"],
        "cross-entropy": [f"{TWO_LAYER} --data digits --loss cross-entropy"],
        "momentum": [f"{LINEAR} --optimizer momentum --momentum 0.8"],
        "nesterov": [f"{LINEAR} --optimizer nesterov"],
        "adam": [f"{TWO_LAYER} --optimizer adam --lr 0.01"],
        "adamw": [f"{TWO_LAYER} --optimizer adamw --lr 0.01 --weight-decay 0.1"],
        "one-cycle": [f"{LINEAR} --schedule one-cycle --warmup 0.5"],
        "label smoothing": [f"{LINEAR} --loss bce --label-smoothing 0.2"],
        "augment": [f"{CNN} --augment"],
        "batch norm": [f"{CNN} --batch-norm --padding --depth 2"],
        "bf16": [CNN.replace("fp32", "bf16")],
        "keep best": ["train --json --epochs 4 --lr 20 --keep best", "eval --json"],
        "patience": ["train --json --epochs 20 --lr 20 --patience 1"],
        "skip bad": ["train --json --data spoiled --skip-bad --epochs 2 --lr 0.1"],
        "min accuracy": [f"{LINEAR} --min-accuracy 0.5", f"{LINEAR} --min-accuracy 0.999"],
        "config file": [LINEAR, "train --json --config runs/RUN1/config.toml", "runs list --json"],
    },
    "resumed": {
        "linear": ["train --json --epochs 1", "train --json --resume latest --epochs 3"],
        "two-layer": [f"{TWO_LAYER} --epochs 1", "train --json --resume RUN1 --epochs 2"],
        "cnn": [
            f"{CNN} --optimizer adamw --schedule constant --batch-norm --augment",
            "train --json --resume latest --epochs 3",
            "runs show --json RUN1",
        ],
        "seeds": ["train --json --seeds 8 --epochs 2"],
        "seeds, order seed": ["train --json --seeds 8 --epochs 2 --order-seed 3 --seed 5"],
        "seeds, own order": ["train --json --seeds 8 --epochs 1 --order-seed own"],
        "seeds, two-layer": [f"{TWO_LAYER} --seeds 2 --epochs 1", "runs show --json latest"],
    },
    "scores": {
        "eval": [
            LINEAR,
            "eval --json --csv out.csv",
            "hash out.csv",
            "eval --json --split train --best --top 2",
            "eval --json --min-accuracy 0.999",
            "runs show --json latest",
            "predict --json latest digits/valid/3 digits/valid/7/0.png --csv seen.csv",
            "hash seen.csv",
            "predict --json latest digits/valid/3/0.png --prepare always --save-prepared seen",
            "hash seen",
            "report --json -o page.html",
            "page page.html",
            "eject --json -o plain.py",
            "script plain.py",
        ],
        "ten classes": [CNN, "eval --json", "predict --json latest digits/valid/4/1.png"],
        "baseline": [
            "baseline pixel-similarity --json",
            "baseline pixel-similarity --json --distance rmse",
            "baseline pixel-similarity --json --data digits",
            "eval --json RUN2",
        ],
        "compared": [
            f"{LINEAR} --seed 1",
            f"{TWO_LAYER} --seed 2",
            "runs compare --json RUN1 RUN2",
            "runs verify --json RUN2",
            "runs list --json --sort accuracy",
            'edit runs/RUN1/config.toml "lr = 1.0" "lr = 1.5"',
            "runs verify --json RUN1",
            "runs rm --json --force RUN1",
            "runs list --json",
        ],
        "data": [
            "data check --json digits",
            "data check --json spoiled",
            "data list --json",
        ],
        "ladder": ["ladder --json --data digits --threads 1"],
        "lr-find": [
            "lr-find --json --threads 1 --steps 60",
            "lr-find --json --threads 1 --model two-layer --steps 40 --end 10",
        ],
    },
    "errors": {
        "usage": ["train --json --epochs zero", "train --json --nothing", "nothing", "eval --help"],
        "no such preset": ["train --json --config liner"],
        "no such setting": [
            f"{LINEAR}",
            'edit runs/RUN1/config.toml "epochs = 2" "epoch = 2"',
            "train --json --config runs/RUN1/config.toml",
        ],
        "bad values": [
            "train --json --lr -1",
            "train --json --epochs 0",
            "train --json --model linear --hidden 3",
            "train --json --data digits --loss mnist",
            "train --json --seeds 3 --keep best",
        ],
        "no such data": ["train --json --data nowhere", "data check --json nowhere"],
        "no such run": ["eval --json", "runs show --json absent", "train --json --resume latest"],
        "bad image": [
            "train --json --data spoiled",
            LINEAR,
            "predict --json latest spoiled/train/3/0.png",
            "predict --json latest spoiled/train/3/0.png spoiled/train/3/1.png --skip-bad",
        ],
        "damaged model": [
            LINEAR,
            "damage runs/RUN1/model.safetensors",
            "eval --json",
            "damage runs/RUN1/resume.safetensors",
            "train --json --resume latest --epochs 3",
            "damage runs/RUN1/best.safetensors",
            "predict --json latest digits/valid/3/0.png --best",
        ],
        "diverged": ["train --json --epochs 3 --lr 1e38 --loss bce"],
        "no such lesson": ["lesson --json nothing"],
    },
    "lessons": {
        name: [f"lesson --json {name}"]
        for name in (
            *("pixels", "similarity", "derivative", "line", "rollercoaster", "activations"),
            *("loss", "batches", "optimizer", "momentum", "step"),
        )
    }
    | {"a list": ["lesson --json"], "another seed": ["lesson --json step --seed 3 --lr 0.5"]},
    "old runs": {
        name: [
            f"copy {name}",
            "eval --json",
            f"predict --json {name} digits/valid/3/0.png",
            "runs show --json latest",
            "runs verify --json latest",
            f"train --json --resume {name}",
            "report --json -o page.html",
            "page page.html",
        ]
        for name in (
            *("linear-done", "linear-stopped", "two-layer-done", "cnn-done", "cnn-stopped"),
            *("keep-best", "four-seeds", "baseline"),
        )
    }
    | {
        "extended": [
            "copy linear-done",
            "train --json --resume latest --epochs 4",
            "copy cnn-done",
            "train --json --resume cnn-done --epochs 3",
        ],
    },
}

MNIST: dict[str, Case] = {
    "old run": [
        "copy mnist-linear",
        "data download mnist --json --from ORIGINALS",
        "eval --json",
        "predict --json latest digits/valid/3/0.png",
        "runs show --json latest",
        "runs verify --json latest",
        "train --json --resume latest --epochs 2",
    ],
}
"""These need MNIST's own four files, in the folder ORIGINALS."""

SLOW: dict[str, Case] = {
    "the chapter": ["reproduce --json --threads 1"],
    "mistakes": ["lesson --json mistakes"],
    "linear, never stopped": ["train --json --epochs 10 --batch-size 64 --lr 0.5"],
    "cnn, never stopped": [
        "train --json --model cnn --channels 4,8 --hidden 8 --epochs 2 --threads 1 --precision fp32"
    ],
    "backprop": ["lesson --json backprop"],
    "import": ["data import-idx --json ORIGINALS made --classes 3,7", "hash made"],
    **_presets(PRESETS, KINDS),
}
"""Two minutes, so not part of `make test`: see test_golden.py."""
