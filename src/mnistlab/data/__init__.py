"""Folders of images → TensorDataset."""
