"""Losses between the outputs of a student and those of a teacher."""
import torch
from torch import Tensor

from mmdet_centernet.models.properties.branch import Branch
from mmdet_centernet.ops.heatmap import local_maximum

KERNEL = 3  # side of the neighborhood, in cells, whose maximum is a peak


def peak_probabilities(probabilities: Tensor) -> Tensor:
    """Return the probabilities [B, C, H, W] of peaks, and 0 elsewhere.

    Faint peaks are kept. Their sum is about the number of objects that a teacher expects.
    """
    is_peak = probabilities == local_maximum(probabilities, KERNEL)
    return torch.where(is_peak, probabilities, 0.0)


def squared_error(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Return the squared error of probabilities, summed over all cells and channels (0-d).

    Args:
        logits (Tensor[B, C, H, W]): the student's.
        probabilities (Tensor[B, C, H, W]): the teacher's.
    """
    return (logits.float().sigmoid() - probabilities).square().sum()


def masked_l1(
    output: Tensor, branch: Branch, teacher_output: Tensor, teacher_branch: Branch, mask: Tensor
) -> Tensor:
    """Return the absolute error of values, a mean over their channels, summed over cells (0-d).

    Outputs are compared in the unit of the quantity, such as cells or meters: each is read
    through the ``to_value`` of its own branch.

    Args:
        output, teacher_output (Tensor[B, channels, H, W]): raw outputs of student and teacher.
        branch, teacher_branch (Branch): their records.
        mask (Tensor[B, H, W]): weights of the cells.
    """
    used = mask[:, None] > 0

    def values(raw: Tensor, record: Branch) -> Tensor:
        # Outputs of other cells may overflow as values, and 0 times infinity is not a number.
        return record.to_value(torch.where(used, raw.float(), 0.0).movedim(1, -1))

    error = (values(output, branch) - values(teacher_output, teacher_branch)).abs()
    return (error.mean(dim=-1) * mask).sum()
