"""Samples as the model takes them."""
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.datasets.transforms import PackDetInputs

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.attributes import field_of, split_attributes
from mmdet_centernet.registry import TRANSFORMS

#: Always in the metainfo of a packed sample, if the sample has them.
META_KEYS = ('homography_matrix', 'color_matrix')
# Annotations of one row per object -> the transform that loads them, and what it loads.
LOADED = {
    'gt_keypoints': ('LoadKeypoints', 'keypoints'),
    'gt_attributes': ('LoadAttributes', 'attributes')}
# What metrics read of an annotated instance.
INSTANCE_KEYS = ('bbox', 'bbox_label', 'ignore_flag', 'attributes')


@TRANSFORMS.register_module(name=['PackInputs', 'PackPoseInputs'])
class PackInputs(PackDetInputs):
    """MMDetection's ``PackDetInputs`` with all that may have been loaded along with the boxes.

    ``gt_instances`` (and ``ignored_instances``) have in addition, if they were loaded:

    - ``keypoints`` (float32 [N, K, 2]) and ``keypoints_visible`` (float32 [N, K]);
    - ``attribute_<name>`` of each attribute: the index of the value of a class or the number
      (float32 [N]), or 0 and 1 for each of several labels (float32 [N, V]); NaN where missing.

    Always in the sample's metainfo are ``homography_matrix`` (the identity if nothing moved the
    image) and, if there is one, ``color_matrix`` (see :class:`ColorJitterPCA`). Test samples of a
    data set with attributes also have ``instances`` there, the annotated objects in pixels of
    the original image, which :class:`AttributeMetric` compares with.

    Args:
        meta_keys (Sequence[str]): as in MMDetection.

    Raises:
        UserError: if a transform moved the image but not the keypoints, or dropped objects but
            not their keypoints or attributes.
    """

    mapping_table = dict(
        PackDetInputs.mapping_table, gt_keypoints='keypoints',
        gt_keypoints_visible='keypoints_visible', gt_attributes='attributes')

    def __init__(
        self, meta_keys: Sequence[str] = ('img_id', 'img_path', 'ori_shape', 'img_shape')
    ) -> None:
        super().__init__(tuple(dict.fromkeys((*meta_keys, *META_KEYS))))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack one sample."""
        results.setdefault('homography_matrix', np.eye(3, dtype=np.float32))
        for key, (load, name) in LOADED.items():
            if key in results:
                self._check_rows(results, key, load, name)
        if 'gt_keypoints' in results:
            self._check_place(results)
        packed: dict[str, Any] = super().transform(results)
        sample = packed['data_samples']
        for instances in (sample.gt_instances, sample.ignored_instances):
            if 'attributes' in instances:
                rows = instances.pop('attributes')
                for name, values in split_attributes(rows, results['attributes']).items():
                    instances[field_of(name)] = values
        if results.get('test_mode') and 'attributes' in results:
            sample.set_metainfo(dict(instances=[
                {key: instance[key] for key in INSTANCE_KEYS}
                for instance in results['instances']]))
        return packed

    @staticmethod
    def _check_rows(results: dict[str, Any], key: str, load: str, name: str) -> None:
        """Check that there is a row for each box."""
        rows, boxes = len(results[key]), results.get('gt_bboxes')
        if boxes is not None and len(boxes) != rows:
            raise UserError(
                f'a transform between {load} and PackInputs left {rows} objects with {name} '
                f'beside {len(boxes)} boxes in {results.get("img_path", "a sample")}: crop, scale '
                'and flip with mmdet_centernet.CenterAffine, CenterPad or CenterResize, which '
                f'keep them together, or put {load} right behind mmdet.LoadAnnotations')

    @staticmethod
    def _check_place(results: dict[str, Any]) -> None:
        """Check that the keypoints are where the image is."""
        moved = results.get('keypoints_homography')
        moved = np.eye(3) if moved is None else moved
        # Both are rounded to float32 at every step.
        if not np.allclose(results['homography_matrix'], moved, rtol=1e-4, atol=1e-4):
            raise UserError(
                'a transform between LoadKeypoints and PackInputs moved the image but not its '
                f'keypoints in {results.get("img_path", "a sample")}: crop, scale and flip with '
                'mmdet_centernet.CenterAffine, CenterPad or CenterResize, which move both')
