"""Records of the network's branches and of losses that read several of them."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

#: Config of a module, or metainfo of an image.
Config = dict[str, Any]


def flip_map(values: Tensor) -> Tensor:
    """Flip maps [B, channels, H, W] left to right."""
    return values.flip(-1)


def identity(values: Tensor) -> Tensor:
    """Return the values unchanged."""
    return values


@dataclass(frozen=True)
class Branch:
    """One output of the network, [B, channels, H, W].

    The network, the losses, flip testing, the checkpoint converter, export and the oracle all
    read this record; no other place lists branches.

    Attributes:
        channels (int): channels of the output.
        loss (dict, optional): config of its loss. None: no loss reads this branch alone.
        kind (str): ``'heatmap'``, logits of probabilities, or ``'regression'``.
        loss_name (str, optional): name of the loss in the log, ``loss_<name>``; the branch's
            name by default.
        flip (Callable, optional): maps the output for flipped images to that for the images.
            Flip testing averages both, heatmaps as probabilities. None: the unflipped images'
            output is kept.
        to_value (Callable): maps raw outputs [..., channels] to the quantity in its own unit.
            The losses and decoding read outputs through it.
        to_output (Callable): inverse of ``to_value``, for the oracle.
        init_std (float, optional): standard deviation of the initial weights of a regression.
            None: PyTorch's default, for branches that have to tell objects apart.
        init_bias (float): initial bias of the outputs of a regression with ``init_std``.
        learn_scale (bool): multiply the outputs by a number that is learned, 1 at first.
        training_only (bool): predictions do not need the branch. It is computed in training
            alone and not exported; its weights stay in checkpoints.
        peaks (str): name of the heatmap at whose peaks a regression is read.
        class_channels (int, optional): channels of each class, those of class 0 first. None: all
            classes share the channels.
        official_name (str, optional): name of the branch in checkpoints of the original
            implementation, if it has the branch.
    """

    channels: int
    loss: Config | None
    kind: Literal['heatmap', 'regression'] = 'regression'
    loss_name: str | None = None
    flip: Callable[[Tensor], Tensor] | None = None
    to_value: Callable[[Tensor], Tensor] = identity
    to_output: Callable[[Tensor], Tensor] = identity
    init_std: float | None = 0.001
    init_bias: float = 0.0
    learn_scale: bool = False
    training_only: bool = False
    peaks: str = 'heatmap'
    class_channels: int | None = None
    official_name: str | None = None


def heatmap_branch(
    channels: int, loss: Config | None, flip: Callable[[Tensor], Tensor] = flip_map, **options: Any
) -> Branch:
    """Return the record of a heatmap."""
    loss = loss or dict(type='mmdet_centernet.GaussianFocalLoss')
    return Branch(channels, loss, kind='heatmap', flip=flip, to_value=torch.sigmoid,
                  to_output=torch.logit, **options)


class JointLoss(NamedTuple):
    """A loss of a quantity that several branches make up, such as a box.

    Attributes:
        loss (dict): config of the loss.
        branches (tuple[str, ...]): the branches it reads.
        combine (Callable): its :class:`CellTarget` and the branches' values [M, channels] -> the
            quantity [M, D].
    """

    loss: Config
    branches: tuple[str, ...]
    combine: Callable[..., Tensor]
