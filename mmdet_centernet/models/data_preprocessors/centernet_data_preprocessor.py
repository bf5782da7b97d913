"""MMDetection's data preprocessor, changing colours on the device first."""
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import MODELS

# Entry of a sample's metainfo: float32 [3, 4], see ColorJitterPCA.
COLOR_MATRIX = 'color_matrix'


@MODELS.register_module()
class CenterNetDataPreprocessor(DetDataPreprocessor):
    """``mmdet.DetDataPreprocessor`` for ``ColorJitterPCA(on_device=True)``.

    Images whose metainfo has ``color_matrix`` (float32 [3, 4], of the channels and a constant 1
    to the new channels, in the order that the images come in) get their colours changed before
    anything else is done; it is gone from the metainfo afterwards. Others stay what they are,
    so that both may be in one batch. The rest is MMDetection's.

    Args:
        *args, **kwargs: MMDetection's.

    Raises:
        UserError: in training, if an image is of whole numbers and has no ``color_matrix``.
    """

    def forward(self, data, training=False):
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


def _check(images, samples, matrices):
    """See that no image lost its matrix on the way; float32 ones have their colours."""
    for image, sample, matrix in zip(images, samples, matrices, strict=True):
        if matrix is None and not image.is_floating_point():
            raise UserError(
                f'{sample.metainfo.get("img_path", "an image")} came to '
                f'CenterNetDataPreprocessor without {COLOR_MATRIX}: add it to the meta_keys of '
                'the packing, and on_device=True to ColorJitterPCA (or take '
                'mmdet.DetDataPreprocessor)')


def map_colors(image, matrix):
    """Change the colours of an image by one matrix, in float32 also under autocast.

    Args:
        image (Tensor[3, H, W]): uint8 or float.
        matrix (ndarray[3, 4]): of the channels and a constant 1 to the new channels.

    Returns:
        Tensor[3, H, W]: float32, on the image's device.
    """
    # Not a matrix product, which TF32 and autocast would round to a grey level or two.
    weight = torch.from_numpy(matrix).to(image.device, non_blocking=True)[:, :, None, None]
    image = image.float()
    out = torch.addcmul(weight[:, 3], weight[:, 0], image[0])
    return out.addcmul_(weight[:, 1], image[1]).addcmul_(weight[:, 2], image[2])
