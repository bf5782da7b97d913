"""Work that mmdet has no counterpart of, and the network that it is measured against."""
import numpy as np
import torch
from heads import STRIDE, samples
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from networks import our_model

from mmdet_centernet.inference.tta import SCALES
from mmdet_centernet.models.test_time_augs import CenterNetTTAModel


def tta(side, height=375, width=500, model='R18-DCN'):
    """Multi-scale flip testing of one image, ``'all'`` of it or the ``'network'`` alone.

    A run returns the data sample of the image, or the network's outputs.
    """
    detector = our_model(model).eval()
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pipeline = Compose([dict(type='TestTimeAug', transforms=[
        [dict(type='mmdet_centernet.CenterPad', scale=scale) for scale in SCALES],
        [dict(type='mmdet.PackDetInputs', meta_keys=('img_shape', 'homography_matrix'))]])])
    if side == 'all':
        tta_model = CenterNetTTAModel(detector).eval()
        return torch.inference_mode()(
            lambda: tta_model.test_step(pseudo_collate([pipeline(dict(img=image))])))
    batches = [torch.randn(2, *inputs.shape) for inputs in pipeline(dict(img=image))['inputs']]
    return torch.inference_mode()(
        lambda: [detector(batch, mode='tensor') for batch in batches])


def pose(side, batch=16, size=512):
    """Poses from outputs full of peaks (``'decoding'``), and DLA-34 that produces them.

    A run returns the instances, or the network's outputs.
    """
    detector = our_model('pose DLA-34', classes=1).eval()
    generator = torch.Generator().manual_seed(0)
    if side == 'network':
        inputs = torch.randn(batch, 3, size, size, generator=generator)
        return torch.inference_mode()(lambda: detector(inputs, mode='tensor'))
    head = detector.bbox_head
    cells = size // STRIDE
    keypoints = head.branches['keypoint_heatmap'].channels

    def maps(channels, draw=torch.rand):
        return draw(batch, channels, cells, cells, generator=generator)

    output = dict(
        heatmap=maps(1, torch.randn) - 1,
        keypoint_heatmap=maps(keypoints, torch.randn) - 1,
        keypoint_displacement=maps(2 * keypoints, torch.randn) * 10,
        wh=maps(2) * 40, offset=maps(2), keypoint_offset=maps(2))
    metas = [sample.metainfo for sample in samples(batch, size, 1)]
    return torch.inference_mode()(lambda: head.predict_by_feat([output], metas))
