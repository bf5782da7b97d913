"""2D boxes as distances to their four sides."""
import math

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from mmdet_centernet.models.properties.branch import Branch, Config
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.models.properties.target import CellTarget, HeatmapTarget, Positives
from mmdet_centernet.ops.heatmap import find_window_owners, read_cells
from mmdet_centernet.registry import TASK_UTILS

CELLS = ('center', '3x3', 'gaussian')
ACTIVATIONS = ('relu', 'exp')
#: Point of a cell that distances start from -> its place in the cell.
BASES = dict(corner=0.0, middle=0.5)
CENTER = 4  # of a cell's 3 x 3 neighbors, row by row
EPS = 1e-4  # of TTFNet's divisor
#: Exponents are cut here, where a distance in input pixels still fits into float16.
MAX_EXPONENT = 7.5


@TASK_UTILS.register_module()
class LTRB(Property):
    """2D box: the distances from a cell to the left, top, right and bottom sides.

    It replaces :class:`Box`, whose size and offset are trained by L1 losses at one cell per
    object. An IoU loss at several cells learns boxes faster (CenterNet*, TTFNet).

    Encoded: ``ltrb`` [M, 4]: the box around the point of each of M cells, xyxy, cells. The box is
    clipped to the map.

    Decoded: ``bboxes`` [B, K, 4] xyxy, input pixels.

    Args:
        loss_bbox (dict, optional): loss between boxes, of MMDetection's ``mmdet.GIoULoss``
            (default), ``DIoULoss``, ``CIoULoss``, ``EIoULoss`` or ``SIoULoss``.
        cells (str): where an object trains its box. ``'center'``: the cell of its center.
            ``'3x3'``: those of the 3 x 3 cells around it whose middle (or corner, see ``base``)
            lies inside the box (CenterNet*). ``'gaussian'``: all that its Gaussian reaches, in
            proportion to the Gaussian; the weights of an object sum to 1 (TTFNet). Where several
            objects meet, that with the largest Gaussian trains a cell of ``'3x3'``, and the
            smallest object one of ``'gaussian'``.
        log_area (bool): with ``'gaussian'``, multiply an object's weights by the logarithm of its
            area in input pixels (TTFNet).
        base (str): point of a cell that distances start from: its ``'middle'`` (CenterNet*) or
            its ``'corner'``, top left (TTFNet).
        activation (str): from an output x to a distance: ``'relu'``, max(x, 0) (CenterNet*,
            TTFNet), or ``'exp'``, e^x (FCOS), with which an error is relative to the size, and
            small boxes are learned as well as large ones.
        factor (float): cells per unit of a distance: 1 in CenterNet*, 4 (16 pixels) in TTFNet.
        init_distance (float): initial distance to each side, cells; 8 in CenterNet*, 0 in
            TTFNet.
        init_std (float): standard deviation of the initial weights.
        learn_scale (bool): learn a factor of the output (CenterNet*, FCOS).
        more_pos (float, optional): threshold of additional positives of the heatmap: those of
            the 3 x 3 cells at an object's center where the current box has a GIoU loss below it
            (0.2 in CenterNet*). The center always counts, if it lies inside the box.

    Raises:
        ValueError: for an unknown choice, or options that contradict each other.
    """

    needs = dict(bboxes='load them with mmdet.LoadAnnotations(with_bbox=True)')
    conventions = ('base',)

    def __init__(
        self,
        loss_bbox: Config | None = None,
        cells: str = '3x3',
        log_area: bool = False,
        base: str = 'middle',
        activation: str = 'relu',
        factor: float = 1.0,
        init_distance: float = 8.0,
        init_std: float = 0.01,
        learn_scale: bool = True,
        more_pos: float | None = None,
    ) -> None:
        super().__init__()
        for name, value, choices in (
                ('cells', cells, CELLS), ('base', base, tuple(BASES)),
                ('activation', activation, ACTIVATIONS)):
            if value not in choices:
                raise ValueError(f'{name} = {value!r} must be one of {choices}.')
        if log_area and cells != 'gaussian':
            raise ValueError(f"log_area needs cells='gaussian', but cells='{cells}'.")
        if not factor > 0:
            raise ValueError(f'factor = {factor} must be positive (cells per unit).')
        if activation == 'exp' and not (base == 'middle' and init_distance > 0):
            raise ValueError("activation='exp' needs base='middle' and an init_distance above 0, "
                             f'but they are {base!r} and {init_distance}.')
        if more_pos is not None and not 0 < more_pos < 2:
            raise ValueError(f'more_pos = {more_pos} must lie in (0, 2), like a GIoU loss.')
        self.cells = cells
        self.log_area = log_area
        self.base = BASES[base]
        self.activation = activation
        self.factor = factor
        self.more_pos = more_pos
        first = init_distance / factor
        self.branches['ltrb'] = Branch(
            4, loss_bbox or dict(type='mmdet.GIoULoss', loss_weight=1.0), flip=self._flip,
            to_value=self._to_boxes, to_output=self._to_sides, init_std=init_std,
            init_bias=math.log(first) if activation == 'exp' else first, learn_scale=learn_scale)

    def _flip(self, output: Tensor) -> Tensor:
        """Map outputs [B, 4, H, W] for flipped images to those for the images."""
        left, top, right, bottom = output.flip(-1).unbind(dim=1)
        # The flipped corner of a cell is its other corner.
        shift = (1 - 2 * self.base) / self.factor
        return torch.stack((right - shift, top, left + shift, bottom), dim=1)

    def _to_boxes(self, output: Tensor) -> Tensor:
        """Return the boxes [..., 4] around a cell's point (xyxy, cells) of outputs [..., 4]."""
        sides = output.relu() if self.activation == 'relu' else (
            output.clamp(max=MAX_EXPONENT).exp())
        left, top, right, bottom = (sides * self.factor).unbind(dim=-1)
        return torch.stack((-left, -top, right, bottom), dim=-1)

    def _to_sides(self, boxes: Tensor) -> Tensor:
        """Invert :meth:`_to_boxes`."""
        left, top, right, bottom = (boxes / self.factor).unbind(dim=-1)
        sides = torch.stack((-left, -top, right, bottom), dim=-1)
        return sides if self.activation == 'relu' else sides.clamp(min=EPS).log()

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode boxes at the cells that train them; see the class."""
        return dict(ltrb=self.encode_cells(centers))

    def encode_cells(self, centers: Centers) -> CellTarget:
        """Return the boxes at the cells that train them; see :meth:`encode`."""
        boxes = centers.boxes()
        if self.cells == 'center':
            point = centers.xy + self.base
            return centers.at_centers(boxes - point.repeat(1, 2))
        height, width = centers.shape[2:]
        gaussians, priority = centers.gaussians, None
        if self.cells == '3x3':
            gaussians = gaussians._replace(
                half=gaussians.half.clamp(max=0) + (gaussians.half >= 0).long(),
                max_half=1, bounds=boxes - self.base)
        else:
            priority = -centers.wh.prod(dim=1)
        owned = find_window_owners(gaussians, centers.images, (height, width), priority)
        weight = (owned.value > 0).to(boxes)
        if self.cells == 'gaussian':
            total = torch.zeros_like(centers.weight).index_add_(0, owned.owner, owned.gaussian)
            weight = owned.value / total.clamp(min=1.0)[owned.owner]  # a center has 1
            if self.log_area:
                area = (centers.wh * centers.stride + 1).prod(dim=1)
                weight = weight * area.log()[owned.owner]
        image = owned.positions.div(height * width, rounding_mode='floor')
        cells = owned.positions - image * (height * width)
        y = cells.div(width, rounding_mode='floor')
        point = torch.stack((cells - y * width, y), dim=1) + self.base
        return CellTarget(image, cells, boxes[owned.owner] - point.repeat(1, 2), weight,
                          weight.sum(), EPS if self.cells == 'gaussian' else 0.0)

    def add_positives(
        self, target: HeatmapTarget, output: Fields, centers: Centers
    ) -> HeatmapTarget:
        """Return the target with the positives that ``more_pos`` asks for."""
        if self.more_pos is None:
            return target
        _, num_classes, height, width = centers.shape
        step = torch.arange(9, device=centers.xy.device)
        x = centers.xy[:, :1] + step % 3 - 1  # [N, 9], row by row
        y = centers.xy[:, 1:] + step.div(3, rounding_mode='floor') - 1
        point = torch.stack((x, y), dim=-1) + self.base
        boxes = centers.boxes()[:, None] - point.repeat(1, 1, 2)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        inside &= (boxes[..., :2] <= 0).all(dim=-1) & (boxes[..., 2:] >= 0).all(dim=-1)
        cells = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        images = centers.images[:, None].expand_as(cells)
        read = read_cells(output['ltrb'].detach(), images.flatten(), cells.flatten())
        found = self._to_boxes(read.float())
        giou = bbox_overlaps(found, boxes.flatten(0, 1), mode='giou', is_aligned=True)
        loss = (1 - giou.view_as(inside)).masked_fill(~inside, torch.inf)
        loss[:, CENTER] = loss[:, CENTER].masked_fill(inside[:, CENTER], 0.0)
        # As in CenterNet2 the worst of nine good cells is left out.
        threshold = loss.amax(dim=1, keepdim=True).clamp(max=self.more_pos)
        weight = ((loss < threshold) & centers.valid[:, None]).to(loss)
        plane = images * num_classes + centers.labels[:, None]
        positions = plane * (height * width) + cells
        return HeatmapTarget(target.heatmap, target.ignored,
                             Positives(positions.flatten(), weight.flatten()))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode boxes at the peaks."""
        boxes = self._to_boxes(peaks.read(outputs['ltrb']))
        point = peaks.xy + self.base
        return dict(bboxes=(boxes + torch.cat((point, point), dim=-1)) * peaks.stride)
