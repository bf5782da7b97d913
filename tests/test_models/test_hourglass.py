"""MMDetection's Hourglass computes what the original's does, and its detector takes it."""
import numpy as np
import pytest
import torch
from helpers.models import samples
from mmdet.models.backbones import HourglassNet
from mmengine.registry import MODELS, DefaultScope
from reference.networks import conv_bn_slowly

CHANNELS, BLOCKS = (16, 10, 12, 14), (2, 1, 2, 3)


def make_backbone(num_stacks=2):
    torch.manual_seed(0)
    return HourglassNet(
        downsample_times=3, num_stacks=num_stacks, stage_channels=CHANNELS, stage_blocks=BLOCKS,
        feat_channel=6)


def residual(state, name, x, stride=1):
    out = conv_bn_slowly(state, f'{name}.conv1', f'{name}.bn1', x, stride).relu()
    out = conv_bn_slowly(state, f'{name}.conv2', f'{name}.bn2', out)
    if f'{name}.downsample.0.weight' in state:
        x = conv_bn_slowly(state, f'{name}.downsample.0', f'{name}.downsample.1', x, stride)
    return (out + x).relu()


def residuals(state, name, x, count, stride=1):
    for number in range(count):
        x = residual(state, f'{name}.{number}', x, stride if number == 0 else 1)
    return x


def double_slowly(x, size):
    """Every cell twice as high and wide, by an index; the odd row and column are cut off."""
    rows, columns = (torch.from_numpy(np.arange(side) // 2) for side in size)
    return x[:, :, rows][:, :, :, columns]


def hourglass(state, name, x, blocks):
    """The map itself, and a coarser one that has gone through a smaller hourglass; in the
    middle of the smallest one there are blocks only (Stacked Hourglass Networks, Sec. 3)."""
    beside = residuals(state, f'{name}.up1', x, blocks[0])
    coarse = residuals(state, f'{name}.low1', x, blocks[0], stride=2)
    if len(blocks) > 2:
        coarse = hourglass(state, f'{name}.low2', coarse, blocks[1:])
    else:
        coarse = residuals(state, f'{name}.low2', coarse, blocks[1])
    coarse = residuals(state, f'{name}.low3', coarse, blocks[0])
    return beside + double_slowly(coarse, x.shape[2:])


@pytest.mark.parametrize('size', [(32, 64), (96, 32), (37, 130)], ids=str)
def test_equals_the_original_written_out(size):
    """Two stacks. The original only takes sides that halve without a remainder; others are
    rounded up, and what upsampling adds too much is cut off."""
    model = make_backbone().double()
    model.eval()
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
            value = noise - 0.5 if value.ndim == 4 else noise + 0.5
        state[name] = value
    model.load_state_dict(state)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        features = model(image)
        x = conv_bn_slowly(state, 'stem.0.conv', 'stem.0.bn', image, stride=2).relu()
        x = residual(state, 'stem.1.0', x, stride=2)
        expected = []
        for stack in range(2):
            out = hourglass(state, f'hourglass_modules.{stack}', x, BLOCKS)
            name = f'out_convs.{stack}'
            out = conv_bn_slowly(state, f'{name}.conv', f'{name}.bn', out).relu()
            expected.append(out)
            if stack == 0:
                # What went in and what came out, each through a 1x1 convolution.
                x = conv_bn_slowly(state, 'conv1x1s.0.conv', 'conv1x1s.0.bn', x)
                x = x + conv_bn_slowly(state, 'remap_convs.0.conv', 'remap_convs.0.bn', out)
                x = residual(state, 'inters.0', x.relu())
    for mine, slow in zip(features, expected, strict=True):
        assert mine.shape == (2, 6, -(-size[0] // 4), -(-size[1] // 4))
        torch.testing.assert_close(mine, slow)


def make_detector():
    # Not narrower: with torch 2.13 on an AVX2 CPU, the backward pass of a 1x1 convolution of
    # stride 2 with fewer than 8 channels-last inputs was seen to write out of bounds.
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(dict(
            type='mmdet_centernet.CenterNet',
            data_preprocessor=dict(type='mmdet.DetDataPreprocessor'),
            backbone=dict(
                type='mmdet.HourglassNet', downsample_times=3, num_stacks=2,
                stage_channels=CHANNELS, stage_blocks=BLOCKS, feat_channel=6),
            neck=None,
            bbox_head=dict(
                type='mmdet_centernet.CenterNetHead', num_classes=3, in_channels=6,
                feat_channels=5, num_stacks=2),
            test_cfg=dict(max_per_img=5)))
        model.init_weights()
    return model


@pytest.mark.parametrize('size', [(64, 96), (33, 130), (8, 4)], ids=str)
def test_detector_without_neck(size):
    """Both stacks are trained, the last one predicts; sides need not be multiples of anything."""
    torch.manual_seed(0)
    model = make_detector()
    images, batch = torch.randn(2, 3, *size), samples(2, size, 2, num_classes=3)
    stacks, = model(images, mode='tensor')
    assert [tuple(stack['heatmap'].shape) for stack in stacks] == 2 * [
        (2, 3, -(-size[0] // 4), -(-size[1] // 4))]
    losses = model(images, batch, mode='loss')
    sum(sum(loss) if isinstance(loss, list) else loss for loss in losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    for sample in batch:
        sample.set_metainfo(dict(scale_factor=(1.0, 1.0)))
    model.eval()
    with torch.no_grad():
        results = model(images, batch, mode='predict')
    assert all(0 < len(result.pred_instances) <= 5 for result in results)
    assert all(torch.isfinite(result.pred_instances.bboxes).all() for result in results)


def test_memory_format_changes_nothing():
    """The detector gives its backbone channels-last images on a CPU."""
    model = make_backbone()
    model.eval()
    image = torch.randn(1, 3, 40, 72)
    with torch.no_grad():
        plain = model(image)
        channels_last = model(image.contiguous(memory_format=torch.channels_last))
    for one, other in zip(plain, channels_last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
