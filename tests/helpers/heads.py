"""Targets, outputs and gradients of heads."""
from types import SimpleNamespace

import numpy as np
import torch

from mmdet_centernet.models.properties import HeatmapTarget


def encode(head, instances, shape, metas=None, ignored=None):
    """Return a head's targets by name, and its coder's ``centers``."""
    metas = metas or [{}] * len(instances)
    targets = head.encode(instances, metas, shape, ignored)
    centers, _ = head.coder.encode(instances, metas, shape, ignored)
    return SimpleNamespace(centers=centers, **targets)


def perfect_outputs(head, targets):
    """Return the outputs of a network that is certain of the targets (of :func:`encode`)."""
    batch, _, height, width = targets.heatmap.heatmap.shape
    outputs = {}
    for name, branch in head.branches.items():
        target = getattr(targets, name)
        if isinstance(target, HeatmapTarget):
            outputs[name] = torch.logit(target.heatmap.to_dense().clamp(1e-6, 1 - 1e-6))
            continue
        trained = target.weight.flatten(1).any(dim=1) if target.weight.dim() > 1 else (
            target.weight > 0)
        values = branch.to_output(target.values).flatten(1)[trained].float()
        dense = torch.zeros(batch, height * width, branch.channels)
        if target.channels is None:
            dense[target.images[trained], target.cells[trained]] = values
        else:
            dense[target.images[trained, None], target.cells[trained, None],
                  target.channels[trained]] = values
        outputs[name] = dense.mT.reshape(batch, -1, height, width)
    return outputs


def stack(outputs, missing=(), dtype=torch.float32):
    """Return a batch of outputs, of each image {name: array}, without the branches missing."""
    return {name: torch.from_numpy(np.stack([output[name] for output in outputs])).to(dtype)
            for name in outputs[0] if name not in missing}


def as_probabilities(outputs, image):
    """Return one image's outputs as references take them: float64, heatmaps as probabilities."""
    arrays = {name: value[image].double() for name, value in outputs.items()}
    return {name: (value.sigmoid() if 'heatmap' in name else value).numpy()
            for name, value in arrays.items()}


def on_meta(instances):
    """Return instances whose tensors have no values, so that reading one back raises."""
    return [type(each)(**{name: value.to('meta') for name, value in each.items()})
            for each in instances]


def assert_all_get_gradients(module, losses, case=''):
    """Check that every parameter gets a finite gradient, and drop the gradients again.

    DistributedDataParallel waits for each of them.
    """
    assert all(torch.isfinite(value) for value in losses.values()), case
    sum(losses.values()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), (case, name)
        parameter.grad = None


def flatten(value):
    """Return the numbers of nested sequences."""
    return [value] if np.isscalar(value) else [x for part in value for x in flatten(part)]
