"""Geometric transforms: one ``cv2.warpAffine`` and one homography each."""
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.structures.bbox import autocast_box_type
from numpy.typing import NDArray

from mmdet_centernet.datasets.transforms.encoded_image import EncodedImage, size_of
from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.affine import (
    FITS,
    camera_view,
    center_warp,
    fit_warp,
    fit_zoom,
    flip_warp,
    pad_warp,
    scaled_size,
    warp_boxes,
    warp_points,
)
from mmdet_centernet.registry import TRANSFORMS

_Matrix: TypeAlias = NDArray[Any]
_Size: TypeAlias = tuple[int, int]

# Entries of a sample that have one row per object. Dropping an object drops its row of each.
PER_OBJECT_KEYS = (
    'gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags', 'gt_keypoints', 'gt_keypoints_visible',
    'gt_bboxes_3d', 'gt_alpha', 'loaded_bboxes', 'gt_attributes')
# Images of up to this many times the output's pixels are warped with a fourth channel.
MAX_FOURTH = 4
# Annotations that the warps below cannot move.
UNMOVED_KEYS = ('gt_masks', 'gt_seg_map', 'proposals')


class CenterWarp(BaseTransform):
    """Base of transforms that move an image, its boxes and keypoints by one matrix.

    Reads ``img`` (ndarray[H, W, 3], or a JPEG file that is not decoded yet, see
    :class:`LoadImage`) and, if present, ``gt_bboxes`` (mmdet's boxes or
    ndarray[N, 4], px of ``img``), ``gt_keypoints`` (ndarray[N, K, 2], likewise), ``cam2img``
    (ndarray[3, 4], camera frame to px) and ``homography_matrix``. Writes them moved, and
    ``img_shape``; ``homography_matrix`` (float32 [3, 3], original px -> px of the new ``img``)
    is the matrix times the one that was there, and so are ``keypoints_homography``, see
    :class:`LoadKeypoints`, and ``cam2img_homography``, which is the same of ``cam2img``.
    Keypoints may move outside the image; they are neither clipped nor marked.

    Args:
        pad_value (float | tuple[float, float, float]): border value, in the values of the
            image. The original implementation uses 0, before normalization.
    """

    def __init__(self, pad_value: float | Sequence[float] = 0) -> None:
        value: Any = pad_value
        value = (value,) * 3 if np.isscalar(value) else tuple(value)
        if len(value) != 3:
            raise UserError(f'pad_value={pad_value} must be one number or three')
        self.pad_value = value

    def _warp_image(self, img: NDArray[Any], matrix: _Matrix, out_size: _Size) -> NDArray[Any]:
        """Return ``img`` moved by ``matrix`` (ndarray[3, 3]), of ``out_size`` (width, height)."""
        # OpenCV warps four channels twice as fast as three, to the same values; only in images
        # much larger than the output does the fourth cost more than it saves.
        fourth = img.shape[0] * img.shape[1] <= MAX_FOURTH * out_size[0] * out_size[1]
        if fourth:
            img = cv2.cvtColor(img, cv2.COLOR_BGR2BGRA)
        img = cv2.warpAffine(
            img, matrix[:2], out_size, flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=self.pad_value)
        return cv2.cvtColor(img, cv2.COLOR_BGRA2BGR) if fourth else img

    def _warp(
        self,
        results: dict[str, Any],
        matrix: _Matrix,
        out_size: _Size,
        scale: float = 1,
        box_matrix: _Matrix | None = None,
    ) -> dict[str, Any]:
        """Move everything in ``results`` and note the matrix.

        Args:
            results (dict): the sample.
            matrix (ndarray[3, 3]): px of the scaled image -> px of the output.
            out_size (tuple[int, int]): (width, height) of the output.
            scale (float): the image is resized by it first, see :func:`scaled_size`.
            box_matrix (ndarray[3, 3], optional): moves the boxes instead of ``matrix``.
        """
        unmoved = [key for key in UNMOVED_KEYS if key in results]
        if unmoved:
            raise UserError(
                f'mmdet_centernet.{type(self).__name__} moves boxes but not {unmoved[0]}, '
                f'which {results.get("img_path", "this sample")} has: do not load it before')
        img, pixel_matrix = results['img'], matrix
        size = size_of(img)
        if isinstance(img, EncodedImage):
            # At a test scale, decode the whole image, because it is resized to whole pixels first.
            zoom = math.hypot(*matrix[:2, 0]) if scale == 1 else 1
            img, whole = img.decode(zoom)
            pixel_matrix = matrix @ whole
        if scale != 1:
            img = cv2.resize(img, scaled_size(size, scale))
        results['img'] = self._warp_image(img, pixel_matrix, out_size)
        results['img_shape'] = (out_size[1], out_size[0])
        # As in the original implementation this is the exact scale. The scale in whole pixels
        # differs by less than a pixel over the image, but would shift the boxes.
        matrix = matrix @ np.diag((scale, scale, 1))
        results['homography_matrix'] = _after(results.get('homography_matrix'), matrix)
        if 'gt_keypoints' in results:
            results['keypoints_homography'] = _after(
                results.get('keypoints_homography'), matrix)
            results['gt_keypoints'] = warp_points(
                results['gt_keypoints'], matrix).astype(np.float32)
        if 'cam2img' in results:
            results['cam2img_homography'] = _after(results.get('cam2img_homography'), matrix)
            results['cam2img'] = matrix @ results['cam2img']
        if 'gt_bboxes' in results:
            boxes = results['gt_bboxes']
            moved = warp_boxes(
                boxes.tensor.numpy(), matrix if box_matrix is None else box_matrix)
            if not np.isfinite(moved).all():
                raise UserError(
                    f'{results.get("img_path", "a sample")} has a box that is not a number: '
                    f'{boxes.tensor[~torch.isfinite(boxes.tensor).all(1)][0].tolist()}')
            boxes.tensor = torch.from_numpy(moved.astype(np.float32))
        return results

    def __repr__(self) -> str:
        options = ', '.join(f'{key}={value}' for key, value in vars(self).items()
                            if not key.startswith('_'))
        return f'{type(self).__name__}({options})'


def _after(before: _Matrix | None, matrix: _Matrix) -> NDArray[np.float32]:
    """Compose the homography of a step with that of the steps before (None: none)."""
    return (matrix if before is None else matrix @ before).astype(np.float32)


def flip_keypoints(results: dict[str, Any]) -> None:
    """Permute the keypoints of a flipped image, each object's by its own skeleton.

    Args:
        results (dict): ``gt_keypoints`` (ndarray[N, K, 2]), ``gt_keypoints_visible``
            (ndarray[N, K]) and ``flip_indices``: ids [K], or ids [C, K] of the classes, and then
            ``gt_bboxes_labels`` (ndarray[N]).
    """
    places = np.asarray(results['flip_indices'])
    if places.ndim == 1:
        for key in ('gt_keypoints', 'gt_keypoints_visible'):
            results[key] = results[key][:, places]
        return
    places = places[results['gt_bboxes_labels']]
    results['gt_keypoints'] = np.take_along_axis(results['gt_keypoints'], places[..., None], 1)
    results['gt_keypoints_visible'] = np.take_along_axis(
        results['gt_keypoints_visible'], places, 1)


def cut_boxes(results: dict[str, Any], drop: bool = True) -> None:
    """Clip the boxes to the image; ``drop`` all rows of objects of which no area is left."""
    if 'gt_bboxes' not in results:
        return
    boxes = results['gt_bboxes']
    boxes.clip_(results['img_shape'])
    if drop:
        keep = ((boxes.widths > 0) & (boxes.heights > 0)).numpy()
        for key in PER_OBJECT_KEYS:
            if key in results:
                if len(results[key]) != len(keep):
                    raise UserError(
                        f'{results.get("img_path", "a sample")} has {len(keep)} boxes, but '
                        f'{len(results[key])} rows of {key}: a transform before this one, such '
                        'as mosaic, mixes boxes only; leave it out')
                results[key] = results[key][keep]


def _border(border: int, side: int) -> int:
    """Halve ``border`` until a range is left between both borders of ``side`` px."""
    divisor = 1
    while side - border // divisor <= border // divisor:
        divisor *= 2
    return border // divisor


@TRANSFORMS.register_module()
class CenterAffine(CenterWarp):
    """Transform with random crop, scale, shift and flip in one warp (Objects as Points, Sec. 5).

    A point of the image moves to the middle of the crop, at a zoom relative to the one at which
    the whole image just fits:

    * ``random_crop=True`` (the paper's, for COCO): a scale is chosen from ``scales``; at scale s
      the crop shows s times as much as at the fitting zoom. The point is uniform over whole
      pixels at least ``border`` from the sides (halved as often as needed in small images).
    * ``random_crop=False``: both are normal around the whole image, the scale with standard
      deviation ``scale_jitter``, clipped at one deviation, the shift with ``shift_jitter`` times
      the long side, clipped at two.

    Then the image is flipped with probability ``flip_prob``: ``x -> W - 1 - x``. The
    keypoints of ``gt_keypoints`` and ``gt_keypoints_visible`` are permuted as well, by the
    sample's ``flip_indices``: K ids, or K ids for each label of ``gt_bboxes_labels``.

    Samples with keypoints can be rotated around the middle of the crop, with probability
    ``rotate_prob``: the angle is normal with standard deviation ``rotate``, clipped at two; a
    positive angle rotates the image counter-clockwise. As in the original implementation, boxes
    are not rotated: a rotated image has the boxes of the upright one, because only their sizes are
    used, and keeps all of them.

    Boxes are clipped to the crop, [0, width] x [0, height] in input px, and kept with their labels
    and flags if any area is left, even if the center of the whole object is outside. The original
    implementation clips at the last cell's index instead, one cell earlier on the right and at the
    bottom; that belongs to the coder, which knows the stride.

    All random numbers are drawn from numpy's global state, which MMEngine seeds in every
    worker.

    Args:
        crop_size (tuple[int, int]): (width, height), px.
        random_crop (bool): which of the two modes.
        scales (tuple[float, ...]): choices of ``random_crop``.
        border (int): px, for ``random_crop``.
        scale_jitter, shift_jitter (float): for the other mode.
        flip_prob (float): in [0, 1].
        pad_value (float | tuple[float, float, float]): see :class:`CenterWarp`.
        rotate_prob (float): in [0, 1].
        rotate (float): degrees.

    Raises:
        UserError: if an option is out of range; in use, if keypoints cannot be flipped without
            ``flip_indices``, a sample without keypoints would be rotated, or a sample has 3D
            boxes (see :class:`CenterAffine3D`).
    """

    def __init__(
        self,
        crop_size: Sequence[int] = (512, 512),
        random_crop: bool = True,
        scales: Sequence[float] = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3),
        border: int = 128,
        scale_jitter: float = 0.4,
        shift_jitter: float = 0.1,
        flip_prob: float = 0.5,
        pad_value: float | Sequence[float] = 0,
        rotate_prob: float = 0.0,
        rotate: float = 0.0,
    ) -> None:
        super().__init__(pad_value)
        self.crop_size = check_size('crop_size', crop_size)
        if not len(scales) or min(scales) <= 0:
            raise UserError(f'CenterAffine needs positive scales, not {scales}')
        if not 0 <= flip_prob <= 1:
            raise UserError(f'CenterAffine needs 0 <= flip_prob <= 1, not {flip_prob}')
        if border < 0:
            raise UserError(f'CenterAffine needs border >= 0, not {border}')
        if not 0 <= scale_jitter < 1 or shift_jitter < 0:
            raise UserError(
                'CenterAffine needs 0 <= scale_jitter < 1 and shift_jitter >= 0, not '
                f'{scale_jitter} and {shift_jitter}')
        if not 0 <= rotate_prob <= 1 or rotate < 0:
            raise UserError(
                'CenterAffine needs 0 <= rotate_prob <= 1 and rotate >= 0, not '
                f'{rotate_prob} and {rotate}')
        self.random_crop = random_crop
        self.scales = tuple(scales)
        self.border = border
        self.scale_jitter = scale_jitter
        self.shift_jitter = shift_jitter
        self.flip_prob = flip_prob
        self.rotate_prob = rotate_prob
        self.rotate = rotate

    @cache_randomness
    def _draw(self, width: int, height: int) -> tuple[tuple[float, float], float, bool]:
        """Draw the center (x, y) in px of the unflipped image, the scale, and the flip."""
        if self.random_crop:
            scale: Any = np.random.choice(self.scales)
            x_border, y_border = (_border(self.border, side) for side in (width, height))
            center: tuple[float, float] = (
                np.random.randint(x_border, width - x_border),
                np.random.randint(y_border, height - y_border))
        else:
            long_side = max(width, height)
            shift = np.clip(np.random.randn(2), -2, 2) * self.shift_jitter * long_side
            center = (width / 2 + shift[0], height / 2 + shift[1])
            scale = 1 + np.clip(np.random.randn(), -1, 1) * self.scale_jitter
        return center, scale, np.random.random() < self.flip_prob

    @cache_randomness
    def _draw_angle(self) -> float:
        """Draw the rotation angle, degrees."""
        if np.random.random() >= self.rotate_prob:
            return 0.
        angle: float = np.clip(np.random.randn(), -2, 2) * self.rotate
        return angle

    def _check_keypoints(self, results: dict[str, Any]) -> None:
        """Check that keypoints can be flipped and rotated as the options say."""
        has_keypoints = 'gt_keypoints' in results
        name = results.get('img_path', 'this sample')
        if self.flip_prob and has_keypoints and 'flip_indices' not in results:
            raise UserError(
                f'{name} has keypoints but no flip_indices, which say where each is after a '
                'flip: take the sample from mmdet_centernet.CocoPoseDataset, or set flip_prob=0')
        if self.rotate_prob and not has_keypoints:
            raise UserError(
                f'CenterAffine(rotate_prob={self.rotate_prob}) rotates keypoints only, and {name} '
                'has none: put mmdet_centernet.LoadKeypoints before it, or set rotate_prob=0')

    @autocast_box_type()
    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop, scale, shift, rotate and flip a sample at random."""
        if 'gt_bboxes_3d' in results:
            raise UserError(
                f'mmdet_centernet.CenterAffine does not support 3D boxes, which '
                f'{results.get("img_path", "this sample")} has: use '
                'mmdet_centernet.CenterAffine3D')
        self._check_keypoints(results)
        width, height = size_of(results['img'])
        (x, y), scale, flip = self._draw(width, height)
        angle = self._draw_angle() if self.rotate_prob else 0
        zoom = fit_zoom((width, height), self.crop_size) / scale
        if flip:
            upright = center_warp((width - 1 - x, y), zoom, self.crop_size) @ flip_warp(width)
        else:
            upright = center_warp((x, y), zoom, self.crop_size)
        matrix = upright
        if angle:
            middle = self.crop_size[0] / 2, self.crop_size[1] / 2
            rotation = np.vstack([cv2.getRotationMatrix2D(middle, angle, 1), (0, 0, 1)])
            matrix = rotation @ upright
        results = self._warp(results, matrix, self.crop_size, box_matrix=upright)
        if flip and 'gt_keypoints' in results:
            flip_keypoints(results)
        cut_boxes(results, drop=not angle)
        return results


@TRANSFORMS.register_module()
class CenterPad(CenterWarp):
    """Transform that pads an image at its own resolution (``keep_res`` testing of the original).

    Each side grows to ``(side | pad_mask) + 1``, the next larger multiple of
    ``pad_mask + 1``, and pixel ``side // 2`` moves to its middle. The shift is by whole pixels, so
    that only ``scale`` resamples.

    Args:
        pad_mask (int): 2^k - 1 and at least the network's coarsest stride less one: 31, or
            127 for the Hourglass.
        pad_value (float | tuple[float, float, float]): see :class:`CenterWarp`.
        scale (float): test scale: the image is first resized to ``int(side * scale)``.

    Raises:
        UserError: if ``pad_mask`` is not such a number, or ``scale`` is not positive; in use, if
            it leaves nothing of an image.
    """

    def __init__(
        self,
        pad_mask: int = 31,
        pad_value: float | Sequence[float] = 0,
        scale: float = 1.0,
    ) -> None:
        super().__init__(pad_value)
        if pad_mask < 1 or pad_mask & (pad_mask + 1):
            raise UserError(f'CenterPad needs a pad_mask of 2^k - 1, such as 31, not {pad_mask}')
        self.pad_mask = pad_mask
        self.scale = _check_scale(scale)

    def _warp_image(self, img: NDArray[Any], matrix: _Matrix, out_size: _Size) -> NDArray[Any]:
        # A shift by whole pixels needs no interpolation, and copying is ten times faster.
        left, top = (int(shift) for shift in matrix[:2, 2])
        height, width = img.shape[:2]
        return cv2.copyMakeBorder(
            img, top, out_size[1] - height - top, left, out_size[0] - width - left,
            cv2.BORDER_CONSTANT, value=self.pad_value)

    @autocast_box_type()
    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pad a sample."""
        _check_scaled(results, self.scale)
        _, matrix, out_size = pad_warp(size_of(results['img']), self.pad_mask, self.scale)
        return self._warp(results, matrix, out_size, self.scale)


@TRANSFORMS.register_module()
class CenterResize(CenterWarp):
    """Transform that fits an image into a fixed size (``fix_res`` testing of the original).

    The zoom is the largest at which the whole image fits. The image is centered.

    Args:
        size (tuple[int, int]): (width, height), px; multiples of the network's coarsest
            stride.
        fit (str): 'whole', or 'width': the zoom at which the width alone fits, as in the original
            implementation for KITTI, where images may extend beyond the top and bottom.
        pad_value (float | tuple[float, float, float]): see :class:`CenterWarp`.
        scale (float): test scale: the image is first resized to ``int(side * scale)``. The
            zoom after it stays that of the whole image, so that the image fills ``scale``
            times its usual part of the input; parts outside are cropped.
        camera (tuple[float, float, float], optional): (focal length, x, y of the principal
            point), px: the input is as this camera would see it, instead of fitted. An object at
            a place of the camera frame is then at the same place of every input.

    Raises:
        UserError: if ``size`` or ``scale`` is not positive or ``fit`` is not known, or for a
            ``camera`` together with a scale; in use, if the scale leaves nothing of an image, or
            a sample has no camera.
    """

    def __init__(
        self,
        size: Sequence[int] = (512, 512),
        pad_value: float | Sequence[float] = 0,
        scale: float = 1.0,
        fit: str = 'whole',
        camera: Sequence[float] | None = None,
    ) -> None:
        super().__init__(pad_value)
        self.size = check_size('size', size)
        self.fit = check_fit(fit)
        self.scale = _check_scale(scale)
        self.camera = check_view(camera)
        if camera is not None and scale != 1:
            raise UserError(f'CenterResize has a camera and the test scale {scale}, which would '
                            'be another camera: leave one of them out')

    @autocast_box_type()
    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Fit a sample into the size."""
        if self.camera is not None:
            check_camera(results)
            center, zoom = camera_view(results['cam2img'], self.camera, self.size)
            return self._warp(results, center_warp(center, zoom, self.size), self.size)
        _check_scaled(results, self.scale)
        _, matrix, out_size = fit_warp(
            size_of(results['img']), self.size, self.fit, self.scale)
        return self._warp(results, matrix, out_size, self.scale)


def check_size(name: str, size: Sequence[int]) -> _Size:
    """Return (width, height) as ints."""
    if len(size) != 2 or min(size) < 1 or any(int(side) != side for side in size):
        raise UserError(f'{name}={size} must be (width, height) in whole, positive pixels')
    width, height = size
    return int(width), int(height)


def check_fit(fit: str) -> str:
    """Check and return a fit."""
    if fit not in FITS:
        raise UserError(f'fit={fit!r} must be one of {FITS}')
    return fit


def check_view(camera: Sequence[float] | None) -> tuple[float, float, float] | None:
    """Check and return (focal length, x, y of the principal point)."""
    if camera is None:
        return None
    if len(camera) != 3 or not np.isfinite(camera).all() or camera[0] <= 0:
        raise UserError(f'camera={camera} must be (focal length, x, y of the principal point), px')
    focal, x, y = camera
    return focal, x, y


def check_camera(results: dict[str, Any]) -> None:
    """Check that a sample has a camera matrix."""
    if results.get('cam2img') is None:
        raise UserError(
            f'{results.get("img_path", "this sample")} has no camera: 3D boxes need cam2img, '
            "the 3 x 4 projection of its image (KITTI's P2), from the data set or the caller")
    camera = np.asarray(results['cam2img'], np.float64)
    if camera.shape != (3, 4) or not np.isfinite(camera).all():
        raise UserError(
            f'cam2img of {results.get("img_path", "this sample")} must be 3 x 4 finite numbers, '
            f'not {camera.tolist()} (shape {camera.shape})')
    results['cam2img'] = camera


def _check_scale(scale: float) -> float:
    """Check and return a test scale."""
    if not isinstance(scale, (int, float)) or not 0 < scale < np.inf:
        raise UserError(f'scale={scale!r} must be a positive number, such as 0.5 or 1.5')
    return scale


def _check_scaled(results: dict[str, Any], scale: float) -> None:
    """Check that a test scale leaves something of a sample's image."""
    size = size_of(results['img'])
    try:
        scaled_size(size, scale)
    except ValueError:
        raise UserError(
            f'{results.get("img_path", "this image")} is {size[0]} x {size[1]} px, of which '
            f'the test scale {scale:g} leaves nothing: leave out this scale, or the image'
        ) from None
