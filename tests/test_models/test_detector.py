"""The whole detector: outputs, memory formats, precision, training steps, bad boxes, and that
targets, losses and decoding never wait for the device."""
import copy
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from model_helpers import build, samples
from torch import nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterNetHead
from mmdet_centernet.models.detectors import CenterNet
from mmdet_centernet.models.task_modules import CenterNetBoxCoder
from mmdet_centernet.ops.heatmap import draw_sparse_heatmap

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


def test_memory_format_does_not_matter(model):
    """Neither that of the input nor that the detector works channels-last on a CPU."""
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
    finite, boxes leave in float32."""
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
    """The heat map is all there is to learn; still no parameter goes without a gradient, on
    which DistributedDataParallel insists."""
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
    ids=['no size', 'negative size', 'NaN', 'outside', 'infinite', 'huge', 'turned round',
         'last hundredth'])
def test_bad_boxes_do_no_harm(model, boxes):
    """Fed straight to the detector, past the data sets that would have sorted them out: the
    losses and all gradients are finite, and good boxes in the same batch still count."""
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


def test_only_bad_boxes_are_no_boxes(model):
    """A box of NaN teaches what an image without boxes does."""
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


# On the meta device tensors have shapes but no values, so that whatever reads a value back
# (item(), tolist(), cpu(), nonzero(), a boolean mask as an index, `if tensor:`) raises. On a GPU
# each of these waits until the device has done all its work.


def meta_head(stacks=1):
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        return CenterNetHead(
            num_classes=CLASSES, in_channels=6, feat_channels=5, num_stacks=stacks)


@pytest.mark.parametrize('shared_cells', ['last', 'all'])
@pytest.mark.parametrize('radius', [('official', 0.7), ('corrected', 0.3)], ids=str)
def test_encode_waits_for_nothing(radius, shared_cells):
    coder = CenterNetBoxCoder(4, *radius, shared_cells)
    targets = coder.encode(
        [torch.empty(5, 4, device='meta'), torch.empty(0, 4, device='meta')],
        [torch.empty(count, dtype=torch.int64, device='meta') for count in (5, 0)],
        (2, CLASSES, 12, 20))
    assert targets.heatmap.to_dense().shape == (2, CLASSES, 12, 20)
    assert targets.heatmap.num_peaks().is_meta and targets.weight.shape == (5,)


@pytest.mark.parametrize('count', [3, 0])
def test_losses_and_gradients_wait_for_nothing(count):
    """From the features on, two stacks, with the head's own losses."""
    head = meta_head(stacks=2)
    outputs, = head([torch.empty(2, 6, 12, 20, device='meta') for _ in range(2)])
    instances = [
        InstanceData(
            bboxes=torch.empty(count, 4, device='meta'),
            labels=torch.empty(count, dtype=torch.int64, device='meta')) for _ in range(2)]
    losses = head.loss_by_feat(outputs, instances, [{}] * 2)
    assert all(loss.is_meta and loss.shape == () for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_decode_waits_for_nothing():
    outputs = {
        name: torch.empty(2, channels, 12, 20, device='meta')
        for name, channels in (('heatmap', CLASSES), ('wh', 2), ('offset', 2))}
    bboxes, scores, labels = CenterNetBoxCoder().decode(**outputs, topk=30)
    assert bboxes.shape == (2, 30, 4) and scores.shape == labels.shape == (2, 30)


def test_what_a_value_read_back_would_do():
    """The three tests above can fail: drawing without a known radius groups by radius."""
    empty = torch.empty(3, dtype=torch.int64, device='meta')
    arguments = torch.empty(3, 2, dtype=torch.int64, device='meta'), empty, empty, (1, 1, 8, 9)
    draw_sparse_heatmap(*arguments, max_radius=2)
    with pytest.raises((RuntimeError, NotImplementedError), match='meta'):
        draw_sparse_heatmap(*arguments)


def test_colors_that_nobody_changes_are_said(model):
    """MMDetection's data preprocessor does not know what ColorJitterPCA left to it."""
    data = samples(1, SIZE, 2, CLASSES)
    data[0].set_metainfo(dict(color_matrix=torch.eye(3, 4).numpy()))
    with pytest.raises(UserError, match='set model.data_preprocessor.type to mmdet_centernet.Ce'):
        model(torch.randn(1, 3, *SIZE), data, mode='loss')
