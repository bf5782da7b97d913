"""Attributes of objects into a sample."""
from typing import Any

from mmcv.transforms import BaseTransform

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.attributes import stack_attributes
from mmdet_centernet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadAttributes(BaseTransform):
    """Attributes of the instances, in the rows of ``mmdet.LoadAnnotations``.

    Reads ``instances`` (each with ``attributes``) and ``attributes``, their description. Writes
    ``gt_attributes`` (float32 [N, columns], see :func:`stack_attributes`; NaN where missing). One
    array of all attributes has one row for each box, as all that a transform has to take along
    when it drops boxes. Transforms of this package do; :class:`PackInputs` stops at others. A
    sample without ``instances``, as an inferencer's, stays as it is.

    Raises:
        UserError: if the data set has no attributes.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Load the attributes of one sample."""
        if 'instances' not in results:
            return results
        if 'attributes' not in results:
            raise UserError(
                f'{results.get("img_path", "this sample")} comes from a data set without '
                'attributes: describe them in metainfo.attributes of a '
                'mmdet_centernet.CocoDataset, or leave LoadAttributes out')
        results['gt_attributes'] = stack_attributes(
            results['instances'], results['attributes'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
