"""MMDetection's data preprocessor with a change of colors on the device."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from numpy.typing import NDArray
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import MODELS

# Key of a sample's metainfo: float32 [3, 4], see ColorJitterPCA.
COLOR_MATRIX = 'color_matrix'


@MODELS.register_module()
class CenterNetDataPreprocessor(DetDataPreprocessor):
    """``mmdet.DetDataPreprocessor`` for ``ColorJitterPCA(on_device=True)``.

    The colors of images whose metainfo has ``color_matrix`` are changed before anything else,
    and the key is removed. The matrix, float32 [3, 4], maps the channels and a constant 1 to
    the new channels, in the images' own channel order. Other images are unchanged, so that a
    batch may contain both. The rest is MMDetection's.

    Args:
        *args, **kwargs: MMDetection's.

    Raises:
        UserError: in training, if an integer image has no ``color_matrix``.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Change the colors, then normalize, pad and batch the images."""
        data = self.cast_data(data)
        samples = data.get('data_samples') or []
        matrices = [sample.metainfo.get(COLOR_MATRIX) for sample in samples]
        if training:
            _check(data['inputs'], samples, matrices)
        if any(matrix is not None for matrix in matrices):
            data = dict(data, inputs=[
                image if matrix is None else map_colors(image, matrix)
                for image, matrix in zip(data['inputs'], matrices, strict=True)])
            for sample, matrix in zip(samples, matrices, strict=True):
                if matrix is not None:
                    sample.pop(COLOR_MATRIX)
        return super().forward(data, training)


def _check(
    images: Sequence[Tensor],
    samples: Sequence[DetDataSample],
    matrices: Sequence[NDArray[np.float32] | None],
) -> None:
    """Check that no image lost its matrix; the colors of float images are changed already.

    Raises:
        UserError: if one did.
    """
    for image, sample, matrix in zip(images, samples, matrices, strict=True):
        if matrix is None and not image.is_floating_point():
            raise UserError(
                f'{sample.metainfo.get("img_path", "an image")} reached '
                f'CenterNetDataPreprocessor without {COLOR_MATRIX}: add it to the meta_keys of '
                'the packing, and on_device=True to ColorJitterPCA (or take '
                'mmdet.DetDataPreprocessor)')


def map_colors(image: Tensor, matrix: NDArray[np.float32]) -> Tensor:
    """Change the colors of an image by a matrix, in float32 also under autocast.

    Args:
        image (Tensor[3, H, W]): uint8 or float.
        matrix (ndarray[3, 4]): maps the channels and a constant 1 to the new channels.

    Returns:
        Tensor[3, H, W]: float32, on the image's device.
    """
    # A matrix product would be rounded by a gray level or two under TF32 and autocast.
    weight = torch.from_numpy(matrix).to(image.device, non_blocking=True)[:, :, None, None]
    image = image.float()
    out = torch.addcmul(weight[:, 3], weight[:, 0], image[0])
    return out.addcmul_(weight[:, 1], image[1]).addcmul_(weight[:, 2], image[2])
