"""Mixed precision and gradient accumulation learn what float32 and whole batches learn."""
import copy

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_centernet.engine.optim_wrapper import CPUAmpOptimWrapper

HEIGHT, WIDTH = 64, 96
CLASSES, KEYPOINTS, IMAGES, OBJECTS = 2, 3, 4, 3
STEPS, LAST = 40, 5
FOCAL, CENTER = 60., (48., 32.)  # px of the camera
HEADS = dict(
    boxes=dict(type='mmdet_centernet.CenterNetHead'),
    pose=dict(type='mmdet_centernet.CenterNetPoseHead', num_keypoints=KEYPOINTS),
    mono3d=dict(type='mmdet_centernet.CenterNetMono3DHead', normalizer='objects'))


def make_batch(seed=0, images=IMAGES):
    """Return images of upright rectangles, one third brighter for each class, on noise; as boxes,
    as people with three keypoints, and as 3D boxes, whose depth shows in their height."""
    generator = torch.Generator().manual_seed(seed)

    def random(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=generator)

    inputs, samples = [], []
    for _ in range(images):
        image = torch.randint(0, 60, (3, HEIGHT, WIDTH), generator=generator)
        labels = torch.randint(0, CLASSES, (OBJECTS, ), generator=generator)
        # One in each third of the width, so that none hides another.
        size = torch.stack((random(10, 24, OBJECTS), random(14, 40, OBJECTS)), dim=1)
        center = torch.stack((
            random(13, 19, OBJECTS) + 32 * torch.arange(OBJECTS), random(22, 42, OBJECTS)), dim=1)
        boxes = torch.cat((center - size / 2, center + size / 2), dim=1)
        for box, label in zip(boxes.round().int().tolist(), labels.tolist(), strict=True):
            left, top, right, bottom = box
            image[:, top:bottom, left:right] += 60 + 60 * label
            image[label, top:bottom, left:right] += 60
        left, top, right, bottom = boxes.T
        middle = (left + right) / 2
        keypoints = torch.stack((middle, top, left, bottom, right, bottom), dim=1)
        depth = FOCAL * 1.5 / size[:, 1]
        rotation = torch.zeros(OBJECTS)
        place = torch.stack((
            (middle - CENTER[0]) * depth / FOCAL, (bottom - CENTER[1]) * depth / FOCAL, depth,
            torch.full_like(depth, 1.5), size[:, 0] * depth / FOCAL, torch.ones(OBJECTS),
            rotation))
        sample = DetDataSample(metainfo=dict(
            img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH),
            cam2img=[[FOCAL, 0, CENTER[0], 0], [0, FOCAL, CENTER[1], 0], [0, 0, 1, 0]]))
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=labels, keypoints=keypoints.view(OBJECTS, KEYPOINTS, 2),
            keypoints_visible=torch.ones(OBJECTS, KEYPOINTS), bboxes_3d=place.T,
            alpha=rotation - torch.atan2(place[0], depth))
        inputs.append(image.to(torch.uint8))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def make_detector(head, use_dcn=True):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(dict(
            type='mmdet_centernet.CenterNet',
            data_preprocessor=dict(type='mmdet.DetDataPreprocessor', mean=[60] * 3, std=[60] * 3),
            backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, num_stages=2,
                          strides=(1, 2), dilations=(1, 1), out_indices=(1, ), norm_eval=False),
            neck=dict(type='mmdet_centernet.CTResNetNeck', in_channels=16,
                      num_deconv_filters=(8, ), num_deconv_kernels=(4, ), use_dcn=use_dcn),
            bbox_head=dict(num_classes=CLASSES, in_channels=8, feat_channels=8,
                           **HEADS[head])))
        model.init_weights()
    return model.train()


def learn(model, wrapper, seed=0):
    """Return the losses of a training on one batch over and over."""
    wrapper = wrapper(torch.optim.Adam(model.parameters(), lr=5e-3))
    batch, logs = make_batch(seed), []
    for _ in range(STEPS):
        logs.append(model.train_step(copy.deepcopy(batch), wrapper))
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return logs


def mean_of_last(logs, name='loss'):
    return sum(float(log[name]) for log in logs[-LAST:]) / LAST


@pytest.mark.parametrize('head', HEADS)
def test_bfloat16_learns_as_float32(head):
    """After 40 steps losses of float32 and bfloat16 differ by up to 6 % (three seeds of each
    head); two trainings in float32 from weights that differ by a thousandth, by up to 5 %."""
    exact, rough = (learn(make_detector(head), wrapper)
                    for wrapper in (OptimWrapper, CPUAmpOptimWrapper))
    assert exact[0].keys() == rough[0].keys()
    assert exact[0]['loss'] != rough[0]['loss']
    assert mean_of_last(exact) < 0.15 * exact[0]['loss']
    assert mean_of_last(rough) == pytest.approx(mean_of_last(exact), rel=0.12)
    for name in exact[0]:
        # Of the whole loss, as the small ones fluctuate more.
        assert abs(mean_of_last(rough, name) - mean_of_last(exact, name)) < 0.12 * mean_of_last(
            exact), name


@pytest.mark.parametrize('head', HEADS)
def test_losses_of_half_precision_outputs_are_float32(head):
    """Precision is lost in the network alone: the losses of its bfloat16 outputs are exactly those
    of the same numbers as float32."""
    model, batch = make_detector(head), make_batch()
    data = model.data_preprocessor(batch, True)
    instances = [sample.gt_instances for sample in data['data_samples']]
    metas = [sample.metainfo for sample in data['data_samples']]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outputs, = model(data['inputs'], mode='tensor')
        rough = model.bbox_head.loss_by_feat(outputs, instances, metas)
    assert all(values.dtype == torch.bfloat16 for values in outputs[-1].values())
    exact = model.bbox_head.loss_by_feat(
        [{name: values.float() for name, values in output.items()} for output in outputs],
        instances, metas)
    for name, value in exact.items():
        assert rough[name].dtype == torch.float32
        assert float(rough[name]) == pytest.approx(float(value), rel=1e-6), name


def weights_after_step(model, batches, wrapper):
    """Return the weights of a copy of a model after a step of SGD on these parts of a batch."""
    model = copy.deepcopy(model)
    wrapper = wrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
                      accumulative_counts=len(batches))
    wrapper.initialize_count_status(model, 0, len(batches))
    for number, batch in enumerate(batches):
        before = model.bbox_head.stacks[0]['heatmap'][-1].weight.clone()
        model.train_step(copy.deepcopy(batch), wrapper)
        moved = not torch.equal(before, model.bbox_head.stacks[0]['heatmap'][-1].weight)
        assert moved == (number == len(batches) - 1)  # one step, after the last part
    return {name: value.detach() for name, value in model.named_parameters()}


def parts(batch, *ranges):
    return [{key: values[first:last] for key, values in batch.items()} for first, last in ranges]


def largest_difference(one, other, start):
    """Return the largest difference of all weights, in fractions of the step of ``other``."""
    step = max((other[name] - start[name]).abs().max() for name in start)
    return max((one[name] - other[name]).abs().max() for name in start) / step


@pytest.mark.parametrize('head', HEADS)
def test_accumulated_halves_make_the_step_of_the_whole_batch(head):
    """If both have as many objects, and batch norms do not learn from the batch; otherwise each
    half is averaged over its own objects and has its own statistics. The 3D head also averages
    over the angles in each of two bins, whose numbers differ a little here."""
    model = make_detector(head)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    batch = make_batch()
    whole = weights_after_step(model, [batch], OptimWrapper)
    halves = weights_after_step(model, parts(batch, (0, 2), (2, 4)), OptimWrapper)
    assert largest_difference(halves, whole, start) < (1e-2 if head == 'mono3d' else 1e-4)
    rough = weights_after_step(model, parts(batch, (0, 2), (2, 4)), CPUAmpOptimWrapper)
    assert 1e-4 < largest_difference(rough, whole, start) < 0.05
    unequal = weights_after_step(model, parts(batch, (0, 1), (1, 4)), OptimWrapper)
    assert largest_difference(unequal, whole, start) > 0.02
    model.train()
    own_statistics = weights_after_step(model, parts(batch, (0, 2), (2, 4)), OptimWrapper)
    whole = weights_after_step(model, [batch], OptimWrapper)
    assert largest_difference(own_statistics, whole, start) > 0.02
