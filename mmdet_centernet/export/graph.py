"""A detector as one function of tensors, from image to detections."""
import torch
from torch import Tensor, nn

INPUT_KINDS = ('uint8', 'float')


class DetectionGraph(nn.Module):
    """Normalise, run the network, decode: what is exported.

    No threshold and no suppression are inside: the outputs have one shape. Detections are in
    pixels of the input; the way back to the original image needs the image's size.

    Args:
        model (CenterNet): in eval mode.
        kind (str): of the input: ``'uint8'`` or ``'float'``, see
            :mod:`mmdet_centernet.runtime.metadata`.
        flip (bool): average with the outputs for the mirrored input (Objects as Points, Sec. 5).
        raw (bool): put out the network's branches, logits and regressions, and decode nothing.

    Attributes:
        output_names (list[str]): of what :meth:`forward` returns.
    """

    def __init__(
        self, model: nn.Module, kind: str = 'uint8', flip: bool = False, raw: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.kind = kind
        self.flip = flip
        self.raw = raw
        preprocessor = model.data_preprocessor
        self.swap = getattr(preprocessor, '_channel_conversion', False)
        self.normalise = getattr(preprocessor, '_enable_normalize', False)
        if self.normalise:
            self.register_buffer('mean', preprocessor.mean.reshape(3, 1, 1))
            self.register_buffer('std', preprocessor.std.reshape(3, 1, 1))
        self.output_names: list[str] = []

    @property
    def has_camera(self) -> bool:
        """Whether detections need the image's camera."""
        return bool(self.model.bbox_head.image_inputs) and not self.raw

    def forward(self, image: Tensor, cam2img: Tensor | None = None) -> tuple[Tensor, ...]:
        """Detections, best first, K = ``topk`` per image.

        Args:
            image (Tensor): uint8 [B, H, W, 3] in BGR, or float32 [B, 3, H, W].
            cam2img (Tensor[B, 3, 4], optional): cameras of the inputs, for a 3D model.

        Returns:
            tuple[Tensor, ...]: ``bboxes`` [B, K, 4] (xyxy, px of the input), ``scores`` [B, K],
            ``labels`` [B, K] and what else the properties decode.
        """
        if self.kind == 'uint8':
            image = image.permute(0, 3, 1, 2).float()
            if self.swap:
                image = image.flip(1)
            if self.normalise:
                image = (image - self.mean) / self.std
        if self.flip:
            image = torch.cat((image, image.flip(-1)))
        head = self.model.bbox_head
        output = head.forward_last(self.model.extract_feat(image))
        if self.flip:
            output = head.merge_flipped(output)
        if not self.raw:
            output = head.decode(output, {} if cam2img is None else dict(cam2img=cam2img))
        self.output_names = list(output)
        return tuple(output.values())

    def example(self, height: int, width: int, batch: int = 1) -> tuple[Tensor, ...]:
        """Inputs of a size: smooth random colours, and a camera that looks at the middle."""
        generator = torch.Generator().manual_seed(0)
        image = sum(
            nn.functional.interpolate(
                torch.rand(batch, 3, -(-height // step), -(-width // step), generator=generator),
                (height, width), mode='bilinear') for step in (4, 16, 64)) / 3 * 255
        if self.kind == 'uint8':
            image = image.permute(0, 2, 3, 1).round().to(torch.uint8)
        elif self.normalise:
            image = (image - self.mean) / self.std
        if not self.has_camera:
            return (image,)
        focal = float(max(height, width))
        camera = torch.tensor(
            [[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0]])
        return image, camera.expand(batch, 3, 4).contiguous()
