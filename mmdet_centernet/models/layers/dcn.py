"""DCNv2 layer with mmcv's parameters and the fastest kernel of the machine."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from mmcv.ops import ModulatedDeformConv2dPack, get_compiling_cuda_version
from mmcv.ops import modulated_deform_conv2d as mmcv_deform_conv2d
from torch import Tensor

from mmdet_centernet.ops.deform_conv import deform_conv2d_op, modulated_deform_conv2d
from mmdet_centernet.registry import MODELS


def _torchvision_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Call torchvision's kernel, which derives both numbers of groups from the shapes."""
    from torchvision.ops import deform_conv2d

    return deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)


@cache
def _cuda_kernel() -> Callable[..., Any]:
    """Return mmcv's kernel if mmcv was compiled with nvcc, else torchvision's, else ours."""
    if get_compiling_cuda_version() != 'not available':
        return mmcv_deform_conv2d
    try:
        import torchvision.ops  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: built for another torch
        return modulated_deform_conv2d
    return _torchvision_deform_conv2d


@MODELS.register_module()
class DCNv2(ModulatedDeformConv2dPack):
    """Modulated deformable convolution that predicts its own offsets and mask.

    Parameters and state dict are those of ``mmcv.ops.ModulatedDeformConv2dPack``; only the
    kernel differs. On a CUDA device it is mmcv's compiled kernel, or torchvision's. On a CPU,
    and for export, it is :func:`mmdet_centernet.ops.deform_conv.modulated_deform_conv2d`,
    which is faster there than either compiled kernel.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups,
        deform_groups, bias: as in ``ModulatedDeformConv2dPack``.
    """

    #: Form in an exported graph: standard operators around ``grid_sample``, or a single
    #: ``mmdet_centernet::deform_conv2d`` that the exporter translates.
    export_form: Literal['grid_sample', 'deform_conv'] = 'grid_sample'

    @classmethod
    @contextmanager
    def exported_as(cls, form: Literal['grid_sample', 'deform_conv']) -> Iterator[None]:
        """Export every layer in this form inside the context.

        Raises:
            ValueError: for an unknown form.
        """
        if form not in ('grid_sample', 'deform_conv'):
            raise ValueError(f"form = {form!r} must be 'grid_sample' or 'deform_conv'.")
        before, cls.export_form = cls.export_form, form
        try:
            yield
        finally:
            cls.export_form = before

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, C, H, W] to [B, O, H_out, W_out]."""
        # The first two thirds are K (y, x) pairs, the last third K mask logits.
        pairs = 2 * self.deform_groups * self.kernel_size[0] * self.kernel_size[1]
        offset, mask = self.conv_offset(x).tensor_split([pairs], dim=1)
        exporting = torch.compiler.is_exporting() or torch.jit.is_tracing()
        if exporting and self.export_form == 'deform_conv':
            return deform_conv2d_op(
                x, offset, mask.sigmoid(), self.weight, self.bias, list(self.stride),
                list(self.padding), list(self.dilation), self.groups, self.deform_groups)
        kernel = _cuda_kernel() if x.is_cuda and not exporting else modulated_deform_conv2d
        return kernel(
            x, offset, mask.sigmoid(), self.weight, self.bias, self.stride, self.padding,
            self.dilation, self.groups, self.deform_groups,
        )
