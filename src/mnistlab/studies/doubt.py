"""Which images are most likely labelled wrongly? Confident learning, from folds.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70 (2021). Each image is judged by a model that has not
seen it (`seeds.py`). A model may be surer of some classes than of others, so a probability is
compared with the mean that the model gives to images that are labelled so.
"""

from dataclasses import dataclass

import torch

from mnistlab.data.store import Split


@dataclass(frozen=True)
class Doubt:
    """An image whose label is doubtful.

    index: its place among all images. file: as `--exclude` knows it. probability: of the suggested
    class; of_label: of the class that it is labelled as. margin: how much better the suggested
    class does, each measured by its mean; above 0 the model takes the image for that class.
    """

    index: int
    file: str
    label: str
    suggested: str
    probability: float
    of_label: float
    margin: float


def find_doubts(images: Split, probabilities: torch.Tensor) -> tuple[list[Doubt], int]:
    """All images, the most doubtful first, and how many are confidently another class.

    probabilities: float64 (n, C), of each class by a model that has not seen the image. An image is
    confidently another class where the probability of that class is at least the mean of the images
    that are labelled so, and it does better than the image's own.
    """
    labels, rows = images.ds.tensors[1], torch.arange(len(images.ds))
    own = probabilities[rows, labels]
    # t_c: the mean probability of class c over the images that are labelled c
    thresholds = torch.stack([own[labels == c].mean() for c in range(len(images.classes))])
    excess = probabilities - thresholds
    of_others = excess.clone()
    of_others[rows, labels] = -torch.inf
    best, suggested = of_others.max(1)
    margin = best - excess[rows, labels]
    order = margin.argsort(descending=True, stable=True)  # of equals, the first file comes first
    figures = torch.stack([probabilities[rows, suggested], own, margin], dim=1).tolist()
    paths, labelled, others = images.paths(), images.labels(), suggested.tolist()
    ranked = [
        Doubt(i, paths[i], labelled[i], images.classes[others[i]], *figures[i])
        for i in order.tolist()
    ]
    return ranked, int(((best >= 0) & (margin > 0)).sum())
