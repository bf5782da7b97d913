"""A small random detector, and configs and images to test it with augmentation."""
import copy

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS

from mmdet_centernet.inference.overrides import apply_test_options

NUM_CLASSES, MAX_PER_IMG = 3, 30
MEAN, STD = np.array([104., 114., 120.]), np.array([74., 70., 71.])
MODEL = dict(
    type='mmdet_centernet.CenterNet',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=MEAN.tolist(), std=STD.tolist(),
        bgr_to_rgb=False, pad_size_divisor=32),
    backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, num_stages=2,
                  strides=(1, 2), dilations=(1, 1), out_indices=(1, ), norm_eval=False),
    neck=dict(type='mmdet_centernet.CTResNetNeck', in_channels=16, num_deconv_filters=(8, ),
              num_deconv_kernels=(4, ), use_dcn=False),
    bbox_head=dict(type='mmdet_centernet.CenterNetHead', num_classes=NUM_CLASSES,
                   in_channels=8, feat_channels=8),
    test_cfg=dict(max_per_img=MAX_PER_IMG))
META_KEYS = ('img_shape', 'homography_matrix')
PIPELINES = dict(
    keep=[dict(type='mmdet_centernet.CenterPad'),
          dict(type='mmdet.PackDetInputs', meta_keys=META_KEYS)],
    fix=[dict(type='mmdet_centernet.CenterResize', size=(96, 96)),
         dict(type='mmdet.PackDetInputs', meta_keys=META_KEYS)])


def build_detector(**changes):
    """Return a random detector whose sizes and offsets differ from cell to cell."""
    model = MODELS.build(Config(dict(MODEL, **changes)).to_dict())
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            scale = (2 / parameter[0].numel())**0.5
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    with torch.no_grad():
        for branches in model.bbox_head.stacks:
            branches['heatmap'][-1].bias -= 2
            branches['wh'][-1].bias += 10
    return model.eval()


def tta_config(resolution, tta, scales=None, flips=None, **tta_model):
    """Return a config of the detector with the options that tools/test.py sets.

    With ``tta='config'`` it has a ``tta_pipeline`` of these scales, and of flips if there are
    transforms that make them.
    """
    sizing, packing = copy.deepcopy(PIPELINES[resolution])
    config = Config(dict(
        model=copy.deepcopy(MODEL), tta_model=tta_model,
        test_dataloader=dict(dataset=dict(pipeline=[sizing, packing]))))
    if tta == 'config':
        groups = [[dict(sizing, scale=scale) for scale in scales], flips or [], [packing]]
        config.tta_pipeline = [
            dict(type='TestTimeAug', transforms=[group for group in groups if group])]
    apply_test_options(config, tta=tta)
    return config


def build_tta(config, module):
    """Return the augmented model around a detector."""
    return MODELS.build(dict(config.model, module=module)).eval()


def load(config, images):
    """Return a batch as the data loader gives it."""
    pipeline = Compose(config.test_dataloader.dataset.pipeline)
    return pseudo_collate([pipeline(dict(img=image.copy())) for image in images])


def make_image(height, width, seed=0):
    """Return blurred noise, uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)
