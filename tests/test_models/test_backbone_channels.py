"""Necks that take channels and strides from the backbone."""
from pathlib import Path

import pytest
import torch
from helpers.models import build

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.necks import CTResNetNeck, DLAUp

CONFIG = Path(__file__).parents[2] / 'configs/_base_/models/centernet_lite0_dlaup.py'


@pytest.mark.parametrize('backbone', [
    dict(type='mmdet.MobileNetV2', out_indices=(1, 2, 4, 6)),
    dict(type='mmdet_centernet.EfficientNetLite', variant='lite2')], ids=str)
def test_none_is_replaced_by_the_backbones_numbers(backbone):
    model = build(CONFIG, backbone=backbone, neck__in_channels=None, neck__in_strides=None)
    assert model.neck.in_strides == (4, 8, 16, 32)
    with torch.no_grad():
        assert model.eval().extract_feat(torch.zeros(1, 3, 64, 96))[0].shape[2:] == (16, 24)


def test_none_without_the_detector():
    with pytest.raises(UserError, match='in_channels of the neck DLAUp is None'):
        DLAUp(None, (4, 8))
    with pytest.raises(UserError, match='in_channels of the neck CTResNetNeck is None'):
        CTResNetNeck(None, (8, ), (4, ))
