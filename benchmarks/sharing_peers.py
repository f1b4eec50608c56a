"""`torchrun ... -m benchmarks.sharing_peers PRESET EPOCHS`: DistributedDataParallel, plain torch.

The net, its first weights, the batches, rates and precision of ours; the optimizer is torch's, and
of each batch every process takes its share. Prints one line of JSON: seconds of each epoch, with
the evaluation, which is shared out too, the last accuracy, how many images and steps.
"""

import json
import os
import sys
import time
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mnistlab.data.batches import epoch_order, to_float
from mnistlab.experiment import prepare, recipe_of
from mnistlab.losses import predictions, targets_for
from mnistlab.resolving import resolve


def main() -> None:
    """Train once; the first process prints."""
    preset, epochs = sys.argv[1], int(sys.argv[2])
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    experiment = prepare(resolve({"epochs": epochs, "threads": 1}, source=preset))
    config, data = experiment.config, experiment.data
    images, labels = data.train_ds.tensors
    valid_images, valid_labels = (tensor[rank::size] for tensor in data.valid_ds.tensors)
    targets, loss_func = targets_for(labels, len(data.classes)), experiment.train_loss()
    schedule = recipe_of(config, experiment.n_batches, loss_func).schedule
    # the buffers of these nets are constants: nothing to send in every step
    model = DistributedDataParallel(experiment.now.model, broadcast_buffers=False)
    opt: torch.optim.Optimizer
    if config.optimizer == "adam":
        betas = (config.momentum, config.beta2)
        opt = torch.optim.Adam(model.parameters(), lr=config.lr, betas=betas)
    else:
        opt = torch.optim.SGD(model.parameters(), lr=config.lr)
    bf16 = config.precision == "bf16"
    step, seconds, right = 0, list[float](), torch.zeros(1)
    for epoch in range(epochs):
        started = time.perf_counter()
        model.train()
        for batch in epoch_order(len(images), config.seed, epoch).split(config.batch_size):
            own = batch[rank::size]
            if schedule is not None:
                lr, momentum = schedule(step)
                opt.param_groups[0].update(lr=lr, betas=(momentum, config.beta2))
            with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
                logits = model(to_float(images[own]))
            loss_func(logits.float(), targets[own]).backward()
            opt.step()
            opt.zero_grad()
            step += 1
        model.eval()
        with torch.no_grad():
            answers = [predictions(model.module(to_float(xb))) for xb in valid_images.split(1024)]
        right = (torch.cat(answers) == valid_labels).sum()
        dist.all_reduce(right)
        seconds.append(time.perf_counter() - started)
    if rank == 0:
        accuracy = float(right) / len(data.valid_ds)
        found = {"seconds": seconds, "accuracy": accuracy, "steps": step, "images": len(images)}
        print(json.dumps(found), flush=True)
    dist.barrier()
    os._exit(0)  # destroying the group ends in "terminate called" now and then


if __name__ == "__main__":
    main()
