"""A detector as one function of tensors, from image to detections."""
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmdet_centernet.export.options import INPUT_KINDS
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.runtime.metadata import InputFormat

CAMERA = 'cam2img'
CAMERA_SHAPE = (3, 4)


class DetectionGraph(nn.Module):
    """The function that is exported: normalization, network, decoding.

    It has no threshold and no suppression, so that the outputs have one shape. Detections are in
    pixels of the input; the way back to the original image needs the image's size.

    Args:
        model (CenterNet): in eval mode.
        kind (str): format of the input, see :class:`InputFormat`.
        flip (bool): average with the outputs for the flipped input (Objects as Points, Sec. 5).
        raw (bool): output the network's branches, logits and regressions, instead of detections.

    Attributes:
        input_names (list[str]): names of the arguments of :meth:`forward`.
        output_names (list[str]): names of what :meth:`forward` returns.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: BaseModel, kind: str = 'uint8', flip: bool = False, raw: bool = False
    ) -> None:
        super().__init__()
        if kind not in INPUT_KINDS:
            raise ValueError(f'kind = {kind!r} must be one of {INPUT_KINDS}.')
        self.model = model
        self.kind = kind
        self.flip = flip
        self.raw = raw
        preprocessor = model.data_preprocessor
        self.to_rgb = bool(getattr(preprocessor, '_channel_conversion', False))
        self.normalizes = bool(getattr(preprocessor, '_enable_normalize', False))
        if self.normalizes:
            self.register_buffer('mean', preprocessor.mean.reshape(3, 1, 1))
            self.register_buffer('std', preprocessor.std.reshape(3, 1, 1))
        self.input_names = input_names(model.bbox_head, raw)
        self.output_names = output_names(model.bbox_head, raw)

    @property
    def input_format(self) -> InputFormat:
        """Format of the images, for the metadata."""
        if not self.normalizes:
            return InputFormat(self.kind, self.to_rgb, None, None)
        mean, std = (tuple(values.flatten().tolist()) for values in (self.mean, self.std))
        return InputFormat(self.kind, self.to_rgb, mean, std)

    def forward(self, image: Tensor, cam2img: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the detections, best first, K = ``topk`` per image.

        Args:
            image (Tensor): uint8 [B, H, W, 3] in BGR, or float32 [B, 3, H, W].
            cam2img (Tensor[B, 3, 4], optional): cameras of the inputs, for a 3D model.

        Returns:
            tuple[Tensor, ...]: ``bboxes`` [B, K, 4] (xyxy, px of the input), ``scores`` [B, K],
            ``labels`` [B, K] and what else the properties decode, as ``output_names`` says.
        """
        if self.kind == 'uint8':
            image = image.permute(0, 3, 1, 2).float()
            if self.to_rgb:
                image = image.flip(1)
            if self.normalizes:
                image = (image - self.mean) / self.std
        if self.flip:
            image = torch.cat((image, image.flip(-1)))
        head = self.model.bbox_head
        output = head.forward_last(self.model.extract_feat(image))
        if self.flip:
            output = head.merge_flipped(output)
        if not self.raw:
            output = head.decode(output, {} if cam2img is None else {CAMERA: cam2img})
        return tuple(output[name] for name in self.output_names)

    def example(self, height: int, width: int, batch: int = 1) -> tuple[Tensor, ...]:
        """Return inputs of a size: smooth random colors, and cameras that look at the middle."""
        generator = torch.Generator().manual_seed(0)
        image: Any = sum(
            nn.functional.interpolate(
                torch.rand(batch, 3, -(-height // step), -(-width // step), generator=generator),
                (height, width), mode='bilinear') for step in (4, 16, 64)) / 3 * 255
        if self.kind == 'uint8':
            image = image.permute(0, 2, 3, 1).round().to(torch.uint8)
        elif self.normalizes:
            image = (image - self.mean) / self.std
        if CAMERA not in self.input_names:
            return (image,)
        focal = float(max(height, width))
        camera = torch.tensor(
            [[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0]])
        return image, camera.expand(batch, *CAMERA_SHAPE).contiguous()


def input_names(head: CenterHead, raw: bool) -> list[str]:
    """Return the names of a graph's inputs."""
    return ['image', *(() if raw else head.image_inputs)]


def output_names(head: CenterHead, raw: bool) -> list[str]:
    """Return the names of a graph's outputs: branches, or what is decoded from them."""
    return list(head.inference_branches) if raw else head.decoded_names()
