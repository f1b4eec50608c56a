"""Which images are most likely labelled wrongly? Confident learning, from folds.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70 (2021). Each image is judged by a model that has not
seen it (`seeds.py`). A model may be surer of some classes than of others, so a probability is
compared with the mean that the model gives to images that are labelled so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mnistlab.data.store import Split


@dataclass(frozen=True)
class Doubt:
    """An image whose label is doubtful.

    file: as `--exclude` knows it. index: its place among all images. probability: of the suggested
    class; of_label: of the class that it is labelled as. margin: how much better the suggested
    class does, each measured by its mean; above 0 the model takes the image for that class.
    """

    file: str
    index: int
    label: str
    suggested: str
    probability: float
    of_label: float
    margin: float


@dataclass(frozen=True)
class Doubts:
    """All images, the most doubtful first.

    n_confident: how many of them are confidently another class: its probability is at least the
    mean of the images that are labelled so, and it does better than their own.
    """

    ranked: Sequence[Doubt]
    n_confident: int


def find_doubts(images: Split, probabilities: torch.Tensor) -> Doubts:
    """Rank the images by how doubtful their labels are.

    probabilities: float64 (n, C), of each class by a model that has not seen the image.
    """
    labels, rows = images.ds.tensors[1], torch.arange(len(images.ds))
    own = probabilities[rows, labels]
    # t_c: the mean probability of class c over the images that are labelled c
    thresholds = torch.stack([own[labels == c].mean() for c in range(len(images.classes))])
    excess = probabilities - thresholds
    others = excess.clone()
    others[rows, labels] = -torch.inf
    best, suggested = others.max(1)
    margin = best - excess[rows, labels]
    confident = (best >= 0) & (margin > 0)
    order = margin.argsort(descending=True, stable=True)  # of equals, the first file comes first
    names, labelled = images.classes, labels.tolist()
    ranked = [
        Doubt(
            images.path_of(i),
            i,
            names[labelled[i]],
            names[int(suggested[i])],
            float(probabilities[i, suggested[i]]),
            float(own[i]),
            float(margin[i]),
        )
        for i in order.tolist()
    ]
    return Doubts(ranked, int(confident.sum()))
