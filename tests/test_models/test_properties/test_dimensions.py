"""Dimensions: what is encoded, and for which images."""
import torch
from mmengine.structures import InstanceData

from mmdet_centernet.models.dense_heads import CenterCoder
from mmdet_centernet.models.properties import Depth, Dimensions


def test_encode_takes_meters_of_images_that_are_not_augmented():
    """Depth and dimensions: scaling an image changes how large an object appears."""
    instances = [InstanceData(
        bboxes=torch.tensor([[4.0, 4, 20, 16], [90, 4, 99, 16]]), labels=torch.tensor([0, 0]),
        bboxes_3d=torch.tensor([[1.0, 2, 20, 1.5, 1.6, 4, 0.5], [float('nan')] * 7]))] * 2
    metas = [{}, dict(augmented=True)]
    centers, _ = CenterCoder().encode(instances, metas, (2, 1, 8, 16))
    depth = Depth().encode(centers, instances, metas)['depth']
    dims = Dimensions().encode(centers, instances, metas)['dims']
    assert depth.values.tolist() == [[20], [1], [20], [1]]
    assert dims.values[0].tolist() == dims.values[2].tolist() == torch.tensor(
        [1.5, 1.6, 4]).tolist()
    assert depth.weight.tolist() == dims.weight.tolist() == [1, 0, 0, 0]
    plain = Dimensions().encode(centers, instances, [{}, dict(augmented=False)])['dims']
    assert plain.weight.tolist() == [1, 0, 1, 0]
