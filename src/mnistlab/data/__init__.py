"""Folders of images → TensorDataset."""

BUNDLED = "mnist_sample"
"""The dataset that travels with mnistlab."""
