"""The whole detector: outputs, memory formats, precision, training steps, bad boxes."""
import copy
from pathlib import Path

import pytest
import torch
from helpers.models import build, samples
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.detectors import CenterNet

CONFIGS = Path(__file__).parents[2] / 'configs'
LIGHT = CONFIGS / 'centernet_lite0_140e_coco.py'
RESNET = CONFIGS / 'centernet_r18_dcn_140e_coco.py'
CLASSES = 4
SIZE = 64, 96
NAN, INF = float('nan'), float('inf')


@pytest.fixture(scope='module')
def trained_from():
    """A light detector; tests copy it. Its branches are louder than at the start, so that
    differences show."""
    torch.manual_seed(0)
    model = build(LIGHT, bbox_head__num_classes=CLASSES)
    for name, branch in model.bbox_head.stacks[0].items():
        nn.init.normal_(branch[-1].weight, std=0.5 if name == 'heatmap' else 0.1)
    return model


@pytest.fixture
def model(trained_from):
    return copy.deepcopy(trained_from)


def make_images(batch=2, size=SIZE, seed=1):
    torch.manual_seed(seed)
    return torch.randn(batch, 3, *size)


def total_loss(model, images, data_samples):
    return sum(model(images, data_samples, mode='loss').values())


@pytest.mark.parametrize('size', [(64, 96), (32, 32)], ids=str)
def test_tensor_mode_gives_logits_at_stride_four(model, size):
    outputs = model.eval()(make_images(size=size), mode='tensor')[0][-1]
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        name: (2, channels, size[0] // 4, size[1] // 4)
        for name, channels in (('heatmap', CLASSES), ('wh', 2), ('offset', 2))}
    assert outputs['heatmap'].min() < 0


def test_memory_format_changes_nothing(model):
    """Neither that of the input, nor that the detector works channels-last on a CPU."""
    images, batch = make_images(), samples(2, SIZE, 5, CLASSES)
    losses, predictions = [], []
    for given in (images, images.contiguous(memory_format=torch.channels_last)):
        torch.manual_seed(0)
        losses.append(total_loss(copy.deepcopy(model).train(), given, batch))
        with torch.no_grad():
            predictions.append(
                copy.deepcopy(model).eval()(given, samples(2, SIZE, 0, CLASSES), mode='predict'))
    torch.testing.assert_close(*losses)
    for mine, other in zip(*predictions, strict=True):
        assert len(mine.pred_instances) > 0
        torch.testing.assert_close(mine.pred_instances.bboxes, other.pred_instances.bboxes)
        torch.testing.assert_close(mine.pred_instances.scores, other.pred_instances.scores)
    model.eval()
    with torch.no_grad():
        for mine, plain in zip(
            model.extract_feat(images), super(CenterNet, model).extract_feat(images), strict=True
        ):
            scale = plain.abs().max().item()
            torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-5 * scale)


def test_half_precision_on_the_cpu():
    """bfloat16 holds two to three digits: the losses at the start agree to 5 %, gradients are
    finite, and boxes are returned in float32."""
    torch.manual_seed(0)
    model = build(LIGHT, bbox_head__num_classes=CLASSES)
    images, batch = make_images(), samples(2, SIZE, 5, CLASSES)
    exact = copy.deepcopy(model).train()(images, batch, mode='loss')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        model.train()
        assert model(images, mode='tensor')[0][-1]['heatmap'].dtype == torch.bfloat16
        rough = model(images, batch, mode='loss')
    for name, value in exact.items():
        assert rough[name].item() == pytest.approx(value.item(), rel=0.05), name
    sum(rough.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        results = model.eval()(images, samples(2, SIZE, 0, CLASSES), mode='predict')
    for result in results:
        assert torch.isfinite(result.pred_instances.bboxes).all()
        assert result.pred_instances.bboxes.dtype == torch.float32


def test_training_steps_lower_the_loss():
    torch.manual_seed(0)
    model = build(LIGHT, bbox_head__num_classes=CLASSES).train()
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=2e-3))
    batch = dict(
        inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)],
        data_samples=samples(2, (64, 64), 3, CLASSES))
    logs = [model.train_step(copy.deepcopy(batch), wrapper) for _ in range(15)]
    first, last = logs[0], logs[-1]
    assert set(first) == {'loss', 'loss_center_heatmap', 'loss_wh', 'loss_offset'}
    assert last['loss'] < 0.6 * first['loss']
    assert last['loss_wh'] < 0.9 * first['loss_wh']


@pytest.mark.parametrize('config', [LIGHT, RESNET], ids=['lite0', 'r18-dcn'])
def test_batch_without_objects_trains_everything(config):
    """The heatmap is all that is trained; still no parameter goes without a gradient, on which
    DistributedDataParallel insists."""
    torch.manual_seed(0)
    model = build(config, bbox_head__num_classes=CLASSES).train()
    losses = model(make_images(), samples(2, SIZE, 0, CLASSES), mode='loss')
    assert losses['loss_center_heatmap'] > 0
    assert losses['loss_wh'] == losses['loss_offset'] == 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    'boxes',
    [[[8, 8, 8, 20], [10, 30, 40, 30]], [[40, 8, 10, 30]], [[NAN, NAN, NAN, NAN], [4, NAN, 9, 9]],
     [[-50, -50, -9, -9], [96, 0, 120, 30], [0, 64, 50, 90]], [[-INF, 4, INF, 30]],
     [[-1e9, -1e9, 1e9, 1e9]], [[3e38, 3e38, -3e38, -3e38]], [[95.99, 63.99, 96, 64]]],
    ids=['no size', 'negative size', 'NaN', 'outside', 'infinite', 'huge', 'inside out',
         'last hundredth'])
def test_losses_of_bad_boxes_are_finite(model, boxes):
    """Without a data set that would have dropped them: the losses and all gradients are finite,
    and good boxes in the same batch still count."""
    batch = samples(2, SIZE, 3, CLASSES)
    bad = batch[0].gt_instances
    batch[0].gt_instances = InstanceData.cat([bad, InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32), labels=torch.zeros(len(boxes)).long())])
    model.train()
    losses = model(make_images(), batch, mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses['loss_wh'] > 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_losses_of_bad_boxes_alone_are_those_of_no_boxes(model):
    images = make_images()
    nothing = samples(2, SIZE, 0, CLASSES)
    bad = copy.deepcopy(nothing)
    for sample in bad:
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[NAN, 4, 9, 9], [20, 20, 20, 30.0]]), labels=torch.tensor([0, 1]))
    model.eval()  # batch norm's statistics would change between the calls
    with torch.no_grad():
        expected = model(images, nothing, mode='loss')
        found = model(images, bad, mode='loss')
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_colors_that_nobody_changes_end_in_one_message(model):
    """MMDetection's data preprocessor does not know what ColorJitterPCA left to it."""
    data = samples(1, SIZE, 2, CLASSES)
    data[0].set_metainfo(dict(color_matrix=torch.eye(3, 4).numpy()))
    with pytest.raises(UserError, match='set model.data_preprocessor.type to mmdet_centernet.Ce'):
        model(torch.randn(1, 3, *SIZE), data, mode='loss')
