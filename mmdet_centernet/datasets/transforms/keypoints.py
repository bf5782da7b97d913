"""Joints into a sample, and out of it."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import PackDetInputs

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadKeypoints(BaseTransform):
    """Joints of the instances, in the rows of ``mmdet.LoadAnnotations``.

    Reads ``instances`` (each with ``keypoints`` and ``keypoints_visible``) and
    ``flip_indices`` (K ids, or K ids for each class). Writes ``gt_keypoints`` (float32 [N, K, 2],
    px of the original image, (x, y)), ``gt_keypoints_visible`` (float32 [N, K]: 0 not labeled, 1
    hidden, 2 visible), and ``keypoints_homography``: the ``homography_matrix`` that the
    joints belong to, which is that of the moment and then follows what moves the joints.
    A sample without ``instances``, as an inferencer's, stays as it is.

    Raises:
        UserError: if the data set gives no joints.
    """

    def transform(self, results):
        if 'instances' not in results:
            return results
        if 'flip_indices' not in results:
            raise UserError(
                f'{results.get("img_path", "this sample")} comes from a data set without '
                'joints: use mmdet_centernet.CocoPoseDataset, or leave LoadKeypoints out')
        instances = results['instances']
        count = np.shape(results['flip_indices'])[-1]
        results['gt_keypoints'] = np.array(
            [instance['keypoints'] for instance in instances], np.float32).reshape(-1, count, 2)
        results['gt_keypoints_visible'] = np.array(
            [instance['keypoints_visible'] for instance in instances],
            np.float32).reshape(-1, count)
        results['keypoints_homography'] = results.get('homography_matrix')
        return results

    def __repr__(self):
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class PackPoseInputs(PackDetInputs):
    """MMDetection's ``PackDetInputs`` with joints.

    ``gt_instances`` has ``keypoints`` (float32 [N, K, 2]) and ``keypoints_visible`` (float32
    [N, K]) in addition, if they were loaded. ``homography_matrix`` (the identity if nothing
    moved the image) is always in the sample's metainfo, and so is ``color_matrix``, if there is
    one (see :class:`ColorJitterPCA`).

    Args:
        meta_keys (tuple[str, ...]): as in MMDetection.

    Raises:
        UserError: if a transform moved the image but not the joints, or changed the objects
            and not their joints.
    """

    mapping_table = dict(
        PackDetInputs.mapping_table, gt_keypoints='keypoints',
        gt_keypoints_visible='keypoints_visible')

    def __init__(self, meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')):
        super().__init__(tuple(dict.fromkeys((*meta_keys, 'homography_matrix', 'color_matrix'))))

    def transform(self, results):
        results.setdefault('homography_matrix', np.eye(3, dtype=np.float32))
        if 'gt_keypoints' in results:
            self._check(results)
        return super().transform(results)

    def _check(self, results):
        """See whether the joints are where the image and the boxes are."""
        moved = results.get('keypoints_homography')
        moved = np.eye(3) if moved is None else moved
        # Both are rounded to float32 at every step.
        same_place = np.allclose(results['homography_matrix'], moved, rtol=1e-4, atol=1e-4)
        boxes = results.get('gt_bboxes')
        rows = len(results['gt_keypoints'])
        if not same_place or (boxes is not None and len(boxes) != rows):
            what = (f'left {rows} objects with joints beside {len(boxes)} boxes' if same_place
                    else 'moved the image but not its joints')
            raise UserError(
                f'a transform between LoadKeypoints and PackPoseInputs {what} in '
                f'{results.get("img_path", "a sample")}: crop, scale and flip with '
                'mmdet_centernet.CenterAffine, CenterPad or CenterResize, which move both')
