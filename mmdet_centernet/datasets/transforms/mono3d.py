"""3D boxes and cameras into a sample, with the image, and out of it."""
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.structures.bbox import autocast_box_type

from mmdet_centernet.datasets.transforms.affine import CenterWarp, check_fit, check_size, cut_boxes
from mmdet_centernet.datasets.transforms.encoded_image import size_of
from mmdet_centernet.datasets.transforms.packing import PackInputs
from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.affine import center_warp, fit_zoom, flip_warp, warp_boxes
from mmdet_centernet.ops.camera import wrap_angle
from mmdet_centernet.registry import TRANSFORMS

# Numbers of a 3D box: x, y, z, h, w, l, rotation_y.
BOX_3D = 7
# How far a box may be outside where the homography has it, px: rounding is far below.
MAX_BEYOND = 1
# The camera frame seen in a mirror: x to the left.
MIRROR = np.diag((-1., 1., 1., 1.))


@TRANSFORMS.register_module()
class LoadBoxes3D(BaseTransform):
    """3D boxes of the instances, in the rows of ``mmdet.LoadAnnotations``.

    Reads ``instances`` (each with ``bbox_3d`` and ``alpha``). Writes ``gt_bboxes_3d`` (float32
    [N, 7]: x, y, z of the bottom's centre, h, w, l, rotation_y; metres and radians in the
    camera frame) and ``gt_alpha`` (float32 [N], radians). Neither depends on pixels, so no
    scaling and shifting changes them. So that :class:`PackMono3DInputs` can tell whether the
    image has been moved unnoticed, ``loaded_bboxes`` (float32 [N, 4]) are the ``gt_bboxes`` and
    ``loaded_homography`` the ``homography_matrix`` of the moment. A sample without
    ``instances``, as an inferencer's, stays as it is.

    Raises:
        UserError: if the data set gives no 3D boxes.
    """

    def transform(self, results):
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

    def __repr__(self):
        return f'{type(self).__name__}()'


def _numbers(boxes):
    """The ndarray[N, 4] of mmdet's boxes, or of an ndarray itself."""
    return np.asarray(getattr(boxes, 'tensor', boxes))


@TRANSFORMS.register_module()
class CenterAffine3D(CenterWarp):
    """Random scale and shift of an image with 3D boxes, in a single warp, as the original.

    With probability ``aug_prob`` the image is scaled and shifted about the zoom at which its
    width (or all of it, see ``fit``) fills the output: it shows s times as much, s normal about
    1 with deviation ``scale_jitter`` and cut off at one deviation; the shift is normal with
    ``shift_jitter`` times the image's width in x and its height in y, cut off at two. As the
    original, ``fit='width'`` uses one zoom for both sides and looks at the widths alone.

    ``augmented`` (bool) says whether that was done. How far an object is cannot be told from
    its size then, so depth and dimensions are not to be learnt; the camera moves with the
    image all the same, so that 3D boxes still project to where they are seen.

    Then left and right are swapped with probability ``flip_prob``, which the original does not
    do: the world is mirrored, pixels ``x -> W - 1 - x``, locations ``x -> -x``, angles
    ``a -> pi - a``, and the camera to fit. Sizes and depths stay what they were.

    Boxes are cut to the output, [0, width] x [0, height] in input px, and objects of which no
    area is left are dropped with all their rows.

    Random numbers are numpy's global ones, drawn in the original's order: whether, scale, x, y.

    Args:
        size (tuple[int, int]): (width, height) of the output, px.
        aug_prob (float): in [0, 1].
        scale_jitter (float): in [0, 1).
        shift_jitter (float): share of the image's sides.
        flip_prob (float): in [0, 1].
        fit (str): 'width', or 'whole' to lose nothing of images that are not as wide as the
            output.
        pad_value (float | tuple[float, float, float]): see :class:`CenterWarp`.

    Raises:
        UserError: if an option is out of range; in use, if a sample has no ``cam2img``, or
            boxes but no 3D boxes.
    """

    def __init__(self, size=(1280, 384), aug_prob=0.5, scale_jitter=0.4, shift_jitter=0.1,
                 flip_prob=0.0, fit='width', pad_value=0):
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

    @cache_randomness
    def _draw(self, width, height):
        """Draw whether to augment, the scale, the shift (x, y) in px, and the flip."""
        augmented, scale, shift = False, 1., (0., 0.)
        if np.random.random() < self.aug_prob:
            augmented = True
            scale += np.clip(np.random.randn(), -1, 1) * self.scale_jitter
            shift = tuple(side * np.clip(np.random.randn(), -2, 2) * self.shift_jitter
                          for side in (width, height))
        # No number of the original's sequence is spent on what it does not do.
        flip = self.flip_prob > 0 and np.random.random() < self.flip_prob
        return augmented, scale, shift, flip

    @autocast_box_type()
    def transform(self, results):
        _check_camera(results)
        if 'gt_bboxes' in results and 'gt_bboxes_3d' not in results:
            raise UserError(
                f'{results.get("img_path", "this sample")} has boxes but no 3D boxes: put '
                'mmdet_centernet.LoadBoxes3D before CenterAffine3D')
        width, height = size_of(results['img'])
        augmented, scale, (x, y), flip = self._draw(width, height)
        x, y = width / 2 + x, height / 2 + y
        zoom = fit_zoom((width, height), self.size, self.fit) / scale
        if flip:
            matrix = center_warp((width - 1 - x, y), zoom, self.size) @ flip_warp(width)
        else:
            matrix = center_warp((x, y), zoom, self.size)
        results = self._warp(results, matrix, self.size)
        results['augmented'] = results.get('augmented', False) or augmented
        if flip:
            # The mirrored image of a world is the image of the mirrored world.
            results['cam2img'] = results['cam2img'] @ MIRROR
            if 'gt_bboxes_3d' in results:
                boxes = results['gt_bboxes_3d'] = results['gt_bboxes_3d'].copy()
                boxes[:, 0] *= -1
                boxes[:, 6] = _mirror_angles(boxes[:, 6])
                results['gt_alpha'] = _mirror_angles(results['gt_alpha'])
        cut_boxes(results)
        return results


def _mirror_angles(angles):
    """Angles about the y axis in a mirror: ndarray[N], float32."""
    return wrap_angle(np.pi - torch.from_numpy(angles)).numpy()


def _check_camera(results):
    """See that a sample has the camera's matrix."""
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
        UserError: if a sample has no camera, or a transform mirrored or turned the image
            without the camera and 3D boxes, moved it without noting the homography, or dropped
            boxes without their 3D boxes.
    """

    mapping_table = dict(
        PackInputs.mapping_table, gt_bboxes_3d='bboxes_3d', gt_alpha='alpha')

    def __init__(self, meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')):
        super().__init__((*meta_keys, 'cam2img', 'augmented'))

    def transform(self, results):
        results.setdefault('homography_matrix', np.eye(3, dtype=np.float32))
        results.setdefault('augmented', False)
        _check_camera(results)
        self._bring_camera_along(results)
        if 'gt_bboxes' in results and 'gt_bboxes_3d' in results:
            self._check_boxes(results)
        return super().transform(results)

    def _check_boxes(self, results):
        """See that the boxes are in the rows of the 3D boxes and where the homography says."""
        boxes, rows = _numbers(results['gt_bboxes']), len(results['gt_bboxes_3d'])
        name = results.get('img_path', 'a sample')
        if len(boxes) != rows:
            raise UserError(
                f'a transform between LoadBoxes3D and PackMono3DInputs left {rows} 3D boxes '
                f'beside {len(boxes)} boxes in {name}: scale and shift with '
                'mmdet_centernet.CenterAffine3D, which drops both')
        if 'loaded_bboxes' not in results:
            return
        loaded = results['loaded_homography']
        moved = results['homography_matrix'] @ np.linalg.inv(
            np.eye(3) if loaded is None else loaded)
        whole = warp_boxes(results['loaded_bboxes'], moved)
        # What is cut off a box is its own affair; beyond the whole it cannot reach.
        if ((boxes[:, :2] < whole[:, :2] - MAX_BEYOND)
                | (boxes[:, 2:] > whole[:, 2:] + MAX_BEYOND)).any():
            raise UserError(
                f'a transform moved {name} and its boxes but did not note it in '
                'homography_matrix, so the camera of the image is not known: scale and shift '
                'with mmdet_centernet.CenterAffine3D, CenterPad, CenterResize or mmdet.Resize')

    def _bring_camera_along(self, results):
        """Move the camera by what moved the image without it."""
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
                f'a transform mirrored or turned {results.get("img_path", "a sample")} but '
                'neither its camera nor its 3D boxes: mirror with '
                'mmdet_centernet.CenterAffine3D(flip_prob=...) instead of mmdet.RandomFlip, and '
                'do not turn images')
        results['cam2img'] = rest @ results['cam2img']
        results['cam2img_homography'] = results['homography_matrix']
