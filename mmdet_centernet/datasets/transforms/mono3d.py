"""Transforms of samples with 3D boxes and cameras: loading, augmentation, packing."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.structures.bbox import autocast_box_type
from numpy.typing import NDArray

from mmdet_centernet.datasets.transforms.affine import (
    PER_OBJECT_KEYS,
    CenterWarp,
    check_camera,
    check_fit,
    check_size,
    check_view,
    cut_boxes,
)
from mmdet_centernet.datasets.transforms.encoded_image import size_of
from mmdet_centernet.datasets.transforms.packing import PackInputs
from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.affine import camera_view, center_warp, fit_zoom, flip_warp, warp_boxes
from mmdet_centernet.ops.camera import wrap_angle
from mmdet_centernet.registry import TRANSFORMS

# Numbers of a 3D box: x, y, z, h, w, l, rotation_y.
BOX_3D = 7
# Largest distance by which a box may leave its box under the homography, px; rounding errors are
# much smaller.
MAX_BEYOND = 1
# What becomes of objects that are left out.
FILTER_CHOICES = ('drop', 'ignore')
# Flips the camera frame: x to the left.
FLIP = np.diag((-1., 1., 1., 1.))


@TRANSFORMS.register_module()
class LoadBoxes3D(BaseTransform):
    """Transform that loads 3D boxes, in the order of ``mmdet.LoadAnnotations``.

    Reads ``instances`` (each with ``bbox_3d`` and ``alpha``). Writes ``gt_bboxes_3d`` (float32
    [N, 7]: x, y, z of the bottom's center, h, w, l, rotation_y; meters and radians in the
    camera frame) and ``gt_alpha`` (float32 [N], radians). Neither depends on pixels, so
    scaling and shifting do not change them. ``loaded_bboxes`` (float32 [N, 4]) and
    ``loaded_homography`` are copies of ``gt_bboxes`` and ``homography_matrix``, from which
    :class:`PackMono3DInputs` finds out whether a later transform moved the image without noting
    it. A sample without ``instances``, such as an inferencer's, is not changed.

    Raises:
        UserError: if the data set has no 3D boxes.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Load the 3D boxes of a sample."""
        if 'instances' not in results:
            return results
        instances = results['instances']
        if any('bbox_3d' not in instance or 'alpha' not in instance for instance in instances):
            raise UserError(
                f'{results.get("img_path", "this sample")} comes from a data set without 3D '
                'boxes: use mmdet_centernet.KittiMono3DDataset, or leave LoadBoxes3D out')
        results['gt_bboxes_3d'] = np.array(
            [instance['bbox_3d'] for instance in instances], np.float32).reshape(-1, BOX_3D)
        results['gt_alpha'] = np.array(
            [instance['alpha'] for instance in instances], np.float32)
        if 'gt_bboxes' in results:
            results['loaded_bboxes'] = _numbers(results['gt_bboxes']).copy()
            results['loaded_homography'] = results.get('homography_matrix')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class FilterBoxes3D(BaseTransform):
    """Transform that leaves objects out of training that are too near or too far away.

    It stands after :class:`LoadBoxes3D`. Depth is z of the 3D box. Objects that are to be ignored
    anyway stay as they are. (MonoDLE drops what is farther than 65 m away: its depth cannot be
    learned and disturbs the rest.)

    Args:
        min_depth, max_depth (float, optional): the depths that are learned, meters, both
            included. None: there is no such limit.
        near, far (str): what becomes of objects below ``min_depth``, and beyond ``max_depth``:
            ``'drop'``, they are background, or ``'ignore'``, neither objects nor background, see
            ``ignore`` of the head's :class:`CenterCoder`.

    Raises:
        UserError: for no limit, limits without anything between them, or another choice; in use,
            for a sample with boxes but without 3D boxes.
    """

    def __init__(
        self,
        min_depth: float | None = None,
        max_depth: float | None = None,
        near: str = 'drop',
        far: str = 'drop',
    ) -> None:
        for name, value in dict(near=near, far=far).items():
            if value not in FILTER_CHOICES:
                raise UserError(f'{name}={value!r} of FilterBoxes3D must be one of '
                                f'{FILTER_CHOICES}')
        self.min_depth = -np.inf if min_depth is None else min_depth
        self.max_depth = np.inf if max_depth is None else max_depth
        if min_depth is None and max_depth is None or self.min_depth >= self.max_depth:
            raise UserError(f'FilterBoxes3D(min_depth={min_depth}, max_depth={max_depth}) needs a '
                            'limit, and min_depth below max_depth: change them, or leave the '
                            'transform out')
        self.near = near
        self.far = far

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Drop or ignore objects of a sample."""
        if 'gt_bboxes' not in results:
            return results
        if 'gt_bboxes_3d' not in results:
            raise UserError(
                f'{results.get("img_path", "this sample")} has boxes but no 3D boxes: put '
                'mmdet_centernet.LoadBoxes3D before FilterBoxes3D')
        depth, ignored = results['gt_bboxes_3d'][:, 2], results['gt_ignore_flags'].astype(bool)
        near, far = depth < self.min_depth, depth > self.max_depth
        dropped = np.zeros_like(ignored)
        for found, choice in ((near & ~ignored, self.near), (far & ~ignored, self.far)):
            if choice == 'drop':
                dropped |= found
            else:
                ignored = ignored | found
        results['gt_ignore_flags'] = ignored
        for key in PER_OBJECT_KEYS:
            if key in results:
                results[key] = results[key][~dropped]
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(min_depth={self.min_depth}, max_depth={self.max_depth}, '
                f'near={self.near!r}, far={self.far!r})')


def _numbers(boxes: Any) -> NDArray[Any]:
    """Return mmdet's boxes, or an ndarray, as ndarray[N, 4]."""
    return np.asarray(getattr(boxes, 'tensor', boxes))


@TRANSFORMS.register_module()
class CenterAffine3D(CenterWarp):
    """Transform with random scale, shift and flip of images with 3D boxes, in a single warp.

    With probability ``aug_prob`` the image is scaled and shifted relative to the zoom at which its
    width (or all of it, see ``fit``) fills the output. It then shows s times as much; s is
    normal around 1 with standard deviation ``scale_jitter``, clipped at one deviation. The shift
    is normal with ``shift_jitter`` times the image's width in x and its height in y, clipped at
    two deviations. As in the original implementation, ``fit='width'`` uses one zoom for both
    sides, that of the widths.

    ``augmented`` (bool) notes whether this was done. The size of an object then says nothing about
    its distance, so depth and dimensions are not trained, unless the head takes the focal length
    into account (``depth_focal`` of :class:`CenterNetMono3DHead`). The camera moves with the
    image, so that 3D boxes still project to their objects.

    Then the image is flipped with probability ``flip_prob``, unlike in the original: pixels
    ``x -> W - 1 - x``, locations ``x -> -x``, angles ``a -> pi - a``, and the camera accordingly.
    Sizes and depths do not change.

    Boxes are clipped to the output, [0, width] x [0, height] in input px, and objects of which no
    area is left are dropped with all their rows.

    Random numbers come from numpy's global state, in the original's order: whether to augment,
    scale, x, y.

    Args:
        size (tuple[int, int]): (width, height) of the output, px.
        aug_prob (float): in [0, 1].
        scale_jitter (float): in [0, 1).
        shift_jitter (float): fraction of the image's sides.
        flip_prob (float): in [0, 1].
        fit (str): 'width', or 'whole' to keep all of images that are not as wide as the output.
        camera (tuple[float, float, float], optional): see :class:`CenterResize`; the scale and
            shift are relative to it.
        pad_value (float | tuple[float, float, float]): see :class:`CenterWarp`.

    Raises:
        UserError: if an option is out of range; in use, if a sample has no ``cam2img``, or
            boxes but no 3D boxes.
    """

    def __init__(
        self,
        size: Sequence[int] = (1280, 384),
        aug_prob: float = 0.5,
        scale_jitter: float = 0.4,
        shift_jitter: float = 0.1,
        flip_prob: float = 0.0,
        fit: str = 'width',
        pad_value: float | Sequence[float] = 0,
        camera: Sequence[float] | None = None,
    ) -> None:
        super().__init__(pad_value)
        self.size = check_size('size', size)
        for name, value in dict(aug_prob=aug_prob, flip_prob=flip_prob).items():
            if not 0 <= value <= 1:
                raise UserError(f'CenterAffine3D needs 0 <= {name} <= 1, not {value}')
        if not 0 <= scale_jitter < 1 or shift_jitter < 0:
            raise UserError(
                'CenterAffine3D needs 0 <= scale_jitter < 1 and shift_jitter >= 0, not '
                f'{scale_jitter} and {shift_jitter}')
        self.aug_prob = aug_prob
        self.scale_jitter = scale_jitter
        self.shift_jitter = shift_jitter
        self.flip_prob = flip_prob
        self.fit = check_fit(fit)
        self.camera = check_view(camera)

    @cache_randomness
    def _draw(
        self, width: int, height: int
    ) -> tuple[bool, float, tuple[float, float], bool]:
        """Draw whether to augment, the scale, the shift (x, y) in px, and the flip."""
        augmented, scale, shift = False, 1., (0., 0.)
        if np.random.random() < self.aug_prob:
            augmented = True
            scale += np.clip(np.random.randn(), -1, 1) * self.scale_jitter
            x, y = (side * np.clip(np.random.randn(), -2, 2) * self.shift_jitter
                    for side in (width, height))
            shift = x, y
        # Without flips, draw the same sequence of numbers as the original implementation.
        flip = self.flip_prob > 0 and np.random.random() < self.flip_prob
        return augmented, scale, shift, flip

    @autocast_box_type()
    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Scale, shift and flip a sample at random."""
        check_camera(results)
        if 'gt_bboxes' in results and 'gt_bboxes_3d' not in results:
            raise UserError(
                f'{results.get("img_path", "this sample")} has boxes but no 3D boxes: put '
                'mmdet_centernet.LoadBoxes3D before CenterAffine3D')
        width, height = size_of(results['img'])
        augmented, scale, shift, flip = self._draw(width, height)
        if self.camera is None:
            center, zoom = (width / 2, height / 2), fit_zoom((width, height), self.size, self.fit)
        else:
            focal, x, y = self.camera
            # The principal point of the flipped image is where the camera has it.
            center, zoom = camera_view(
                results['cam2img'], (focal, self.size[0] - x if flip else x, y), self.size)
        x, y = (middle + moved for middle, moved in zip(center, shift))
        zoom /= scale
        if flip:
            matrix = center_warp((width - 1 - x, y), zoom, self.size) @ flip_warp(width)
        else:
            matrix = center_warp((x, y), zoom, self.size)
        results = self._warp(results, matrix, self.size)
        results['augmented'] = results.get('augmented', False) or augmented
        if flip:
            # A flipped image shows the flipped world.
            results['cam2img'] = results['cam2img'] @ FLIP
            if 'gt_bboxes_3d' in results:
                boxes = results['gt_bboxes_3d'] = results['gt_bboxes_3d'].copy()
                boxes[:, 0] *= -1
                boxes[:, 6] = _flip_angles(boxes[:, 6])
                results['gt_alpha'] = _flip_angles(results['gt_alpha'])
        cut_boxes(results)
        return results


def _flip_angles(angles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the angles [N] about the y axis in the flipped image."""
    flipped: NDArray[np.float32] = wrap_angle(np.pi - torch.from_numpy(angles)).numpy()
    return flipped


@TRANSFORMS.register_module()
class PackMono3DInputs(PackInputs):
    """:class:`PackInputs` with 3D boxes and the camera.

    ``gt_instances`` has ``bboxes_3d`` (float32 [N, 7]) and ``alpha`` (float32 [N]) in addition,
    if they were loaded, and so have ``ignored_instances``, whose ``labels`` are -1 where they
    are to be ignored for every class. Always in the sample's metainfo are ``augmented`` (see
    :class:`CenterAffine3D`; False without it), and ``cam2img`` (float64 [3, 4]) of the input
    image: where a transform of MMDetection moved the image without it, such as ``Resize``, it
    follows by the homography.

    Args:
        meta_keys (tuple[str, ...]): as in MMDetection.

    Raises:
        UserError: if a sample has no camera, or a transform flipped or rotated the image but not
            the camera and 3D boxes, moved it without noting the homography, or dropped boxes
            without their 3D boxes.
    """

    mapping_table = dict(
        PackInputs.mapping_table, gt_bboxes_3d='bboxes_3d', gt_alpha='alpha')

    def __init__(
        self, meta_keys: Sequence[str] = ('img_id', 'img_path', 'ori_shape', 'img_shape')
    ) -> None:
        super().__init__((*meta_keys, 'cam2img', 'augmented'))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack a sample."""
        results.setdefault('homography_matrix', np.eye(3, dtype=np.float32))
        results.setdefault('augmented', False)
        check_camera(results)
        self._move_camera(results)
        if 'gt_bboxes' in results and 'gt_bboxes_3d' in results:
            self._check_boxes(results)
        packed: dict[str, Any] = super().transform(results)
        return packed

    def _check_boxes(self, results: dict[str, Any]) -> None:
        """Check that the boxes match the 3D boxes in number and the homography in position."""
        boxes, rows = _numbers(results['gt_bboxes']), len(results['gt_bboxes_3d'])
        name = results.get('img_path', 'a sample')
        if len(boxes) != rows:
            raise UserError(
                f'a transform between LoadBoxes3D and PackMono3DInputs left {rows} 3D boxes '
                f'for {len(boxes)} boxes in {name}: scale and shift with '
                'mmdet_centernet.CenterAffine3D, which drops both')
        if 'loaded_bboxes' not in results:
            return
        loaded = results['loaded_homography']
        moved = results['homography_matrix'] @ np.linalg.inv(
            np.eye(3) if loaded is None else loaded)
        whole = warp_boxes(results['loaded_bboxes'], moved)
        # A box may be truncated, but may not extend beyond the whole moved box.
        if ((boxes[:, :2] < whole[:, :2] - MAX_BEYOND)
                | (boxes[:, 2:] > whole[:, 2:] + MAX_BEYOND)).any():
            raise UserError(
                f'a transform moved {name} and its boxes but did not note it in '
                'homography_matrix, so the camera of the image is not known: scale and shift '
                'with mmdet_centernet.CenterAffine3D, CenterPad, CenterResize or mmdet.Resize')

    def _move_camera(self, results: dict[str, Any]) -> None:
        """Apply to the camera the transforms that moved the image without it."""
        moved = results.get('cam2img_homography')
        moved = np.eye(3) if moved is None else np.asarray(moved, np.float64)
        homography = np.asarray(results['homography_matrix'], np.float64)
        # Both are rounded to float32 at every step.
        if np.allclose(homography, moved, rtol=1e-4, atol=1e-4):
            return
        rest = homography @ np.linalg.inv(moved)
        zoom = np.diag(rest)[:2]
        if zoom.min() <= 0 or np.abs(rest[[0, 1], [1, 0]]).max() > 1e-4 * zoom.max():
            raise UserError(
                f'a transform flipped or rotated {results.get("img_path", "a sample")} but '
                'neither its camera nor its 3D boxes: flip with '
                'mmdet_centernet.CenterAffine3D(flip_prob=...) instead of mmdet.RandomFlip, and '
                'do not rotate images')
        results['cam2img'] = rest @ results['cam2img']
        results['cam2img_homography'] = results['homography_matrix']
