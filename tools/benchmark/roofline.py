"""Roofline model: peak rates of the machine, and the amount of work.

A piece of work takes no less than its floating-point operations over the rate of a large matrix
product, and no less than its bytes over the rate of a copy, except by needing fewer: Winograd's
convolutions multiply less than is counted, and a map that stays in the cache is not fetched.
"""
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry

MATRIX_SIDE = 2048
COPY_BYTES = 2**28


@dataclass(frozen=True)
class Rates:
    """Peak rates of a machine with a number of threads.

    Attributes:
        matrix (dict[str, float]): FLOP/s of a matrix product by the name of its type, e.g.
            ``'float32'``; a multiplication and an addition are two operations.
        copy (float): bytes/s, read and written ones counted both.
    """

    matrix: dict
    copy: float


@dataclass(frozen=True)
class Cost:
    """Amount of work.

    Attributes:
        flops (int): of convolutions and products of matrices.
        bytes (int): their inputs, weights and outputs, each read or written once.
    """

    flops: int
    bytes: int

    def seconds(self, rates: Rates, dtype: str = 'float32') -> tuple[float, float]:
        """Return the times of the arithmetic and of the copies at the peak rates."""
        return self.flops / rates.matrix[dtype], self.bytes / rates.copy


def best_of(work: Callable[[], object], seconds: float) -> float:
    """The least seconds that ``work`` took, tried for ``seconds`` and at least three times."""
    work()
    best, count, start = float('inf'), 0, time.perf_counter()
    while count < 3 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - before)
        count += 1
    return best


def measure_rates(seconds: float = 1.0, side: int = MATRIX_SIDE,
                  size: int = COPY_BYTES) -> Rates:
    """Measure with the threads that PyTorch uses now.

    Args:
        seconds (float): for each of three measurements.
        side (int): of the square matrices.
        size (int): bytes copied, more than any cache holds.

    Returns:
        Rates: of float32 and bfloat16 products and of ``Tensor.copy_``.
    """
    matrix = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2, side, side).to(dtype)
        out = torch.empty_like(a)
        taken = best_of(lambda a=a, b=b, out=out: torch.matmul(a, b, out=out), seconds)
        matrix[str(dtype).removeprefix('torch.')] = 2 * side**3 / taken
    source = torch.ones(size // 4)
    target = torch.zeros_like(source)
    return Rates(matrix, 2 * size / best_of(lambda: target.copy_(source), seconds))


def _deformable_flops(x, offset, weight):
    """Those of the plain convolution with as many taps and outputs."""
    return conv_flop_count(x.shape, weight.shape, (len(x), len(weight), *offset.shape[2:]))


# Our deformable convolution by the names of its operators. The gradients of input and weights
# are two such products.
_DEFORMABLE = {
    'mmdet_centernet.deform_conv2d':
        lambda args: _deformable_flops(args[0], args[1], args[3]),
    'mmdet_centernet.deform_conv2d_backward':
        lambda args: 2 * _deformable_flops(args[1], args[2], args[4]),
}


class _Counter(TorchDispatchMode):
    """Adds up what goes through PyTorch's operations while it is entered."""

    def __init__(self):
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation is torch.ops.aten.convolution_backward:
            # Not PyTorch's formula, which takes a gradient of the weights of g groups for
            # g times as much as it is.
            grad, x, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[-1]
            one = conv_flop_count(x.shape, weight.shape, grad.shape, transposed)
            self.flops += one * sum(wanted[:2])
        elif str(operation) in _DEFORMABLE:
            self.flops += _DEFORMABLE[str(operation)](args)
        elif operation in flop_registry:
            self.flops += flop_registry[operation](*args, **(kwargs or {}), out_val=out)
        else:
            return out
        self.bytes += sum(
            leaf.numel() * leaf.element_size()
            for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor))
        return out


def count(work: Callable[[], object]) -> Cost:
    """Count what a piece of work does, by running it.

    Counted are convolutions, plain, transposed and grouped, products of matrices, and their
    gradients, by their formulas, not by how a library computes them; our deformable
    convolution as a plain one of its shape. Not counted: biases, batch norms, activations,
    pooling, bilinear reads, decoding, and operations of others that PyTorch has no formula
    for, such as mmcv's deformable convolution.

    Args:
        work (Callable): called once, without arguments; not in inference mode, in which
            PyTorch does not show the parts of its operations.

    Returns:
        Cost: of one call.
    """
    with _Counter() as counter:
        work()
    return Cost(counter.flops, counter.bytes)
