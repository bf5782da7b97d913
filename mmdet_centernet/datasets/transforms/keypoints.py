"""Loading of keypoints into a sample."""
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadKeypoints(BaseTransform):
    """Loader of the instances' keypoints, in the rows of ``mmdet.LoadAnnotations``.

    It reads ``instances`` (each with ``keypoints`` and ``keypoints_visible``) and
    ``flip_indices`` (K ids, or K ids for each class). Writes ``gt_keypoints`` (float32 [N, K, 2],
    px of the original image, (x, y)), ``gt_keypoints_visible`` (float32 [N, K]: 0 not labeled, 1
    hidden, 2 visible), and ``keypoints_homography``: the ``homography_matrix`` of the keypoints,
    the current one, which transforms of keypoints then update. A sample without ``instances``,
    such as an inferencer's, is not changed.

    Raises:
        UserError: if the data set has no keypoints.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if 'instances' not in results:
            return results
        if 'flip_indices' not in results:
            raise UserError(
                f'{results.get("img_path", "this sample")} comes from a data set without '
                'keypoints: use mmdet_centernet.CocoPoseDataset, or leave LoadKeypoints out')
        instances = results['instances']
        count = np.shape(results['flip_indices'])[-1]
        results['gt_keypoints'] = np.array(
            [instance['keypoints'] for instance in instances], np.float32).reshape(-1, count, 2)
        results['gt_keypoints_visible'] = np.array(
            [instance['keypoints_visible'] for instance in instances],
            np.float32).reshape(-1, count)
        results['keypoints_homography'] = results.get('homography_matrix')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
