"""The 2D head: what it puts out, its losses against a loop, its detections."""
import copy
import math

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from model_helpers import samples
from test_box_coder import encode_slowly

from mmdet_centernet.models.dense_heads import CenterNetHead

STRIDE = 4
CLASSES = 3
HEIGHT, WIDTH = 12, 20  # cells
SIZE = HEIGHT * STRIDE, WIDTH * STRIDE
LOSSES = {'loss_center_heatmap', 'loss_wh', 'loss_offset'}
NO_CHANGE = dict(homography_matrix=np.eye(3))


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def make_head(seed=0, **options):
    torch.manual_seed(seed)
    head = CenterNetHead(
        **dict(dict(num_classes=CLASSES, in_channels=6, feat_channels=5), **options))
    head.init_weights()
    return head


def make_features(batch=2, stacks=1, seed=1):
    torch.manual_seed(seed)
    return [torch.randn(batch, 6, HEIGHT, WIDTH) for _ in range(stacks)]


def make_outputs(batch=2, seed=2):
    """One stack's outputs that are all over the place."""
    torch.manual_seed(seed)
    return dict(
        heatmap=torch.randn(batch, CLASSES, HEIGHT, WIDTH) * 2 - 2,
        wh=torch.rand(batch, 2, HEIGHT, WIDTH) * 6 + 1,
        offset=torch.rand(batch, 2, HEIGHT, WIDTH))


def make_objects(*counts, seed=3):
    """Ground truth of a batch, so many boxes per image; two in each share a cell."""
    instances = []
    for number, count in enumerate(counts):
        instance = samples(1, SIZE, count, CLASSES, seed + number)[0].gt_instances
        if count > 1:
            instance.bboxes[1] = instance.bboxes[0] + torch.tensor([-0.5, -1, 0.5, 1])
        instances.append(instance)
    return instances


def losses_of(head, outputs, instances):
    return head.loss_by_feat(outputs, instances, [{}] * len(instances))


def losses_slowly(outputs, instances, shared_cells):
    """Objects as Points, eq. 1 to 4, cell by cell and object by object in float64."""
    logits = outputs['heatmap'].detach().double()
    target, objects = encode_slowly(
        [i.bboxes for i in instances], [i.labels for i in instances], tuple(logits.shape),
        'corrected', 0.3, shared_cells)
    heatmap, ones = 0.0, 0
    for logit, y in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        if y == 1:
            ones += 1
            heatmap -= (1 - p) ** 2 * math.log(p)
        else:
            heatmap -= (1 - y) ** 4 * p**2 * math.log(1 - p)
    ones = max(ones, 1)
    wh = offset = 0.0
    for image, cell, size, shift in objects.values():
        y, x = divmod(cell, WIDTH)
        for axis in range(2):
            wh += abs(float(outputs['wh'][image, axis, y, x]) - size[axis]) / 2
            offset += abs(float(outputs['offset'][image, axis, y, x]) - shift[axis]) / 2
    return dict(
        loss_center_heatmap=heatmap / ones, loss_wh=0.1 * wh / ones,
        loss_offset=offset / ones)


def test_forward_gives_logits_by_name():
    """Heat maps start at logit -2.19, below zero: probabilities appear nowhere."""
    outputs = make_head()(make_features())
    assert isinstance(outputs, tuple) and len(outputs) == 1
    stacks, = outputs
    assert isinstance(stacks, list) and len(stacks) == 1
    assert {name: tuple(value.shape) for name, value in stacks[0].items()} == dict(
        heatmap=(2, CLASSES, HEIGHT, WIDTH), wh=(2, 2, HEIGHT, WIDTH),
        offset=(2, 2, HEIGHT, WIDTH))
    heatmap = stacks[0]['heatmap']
    assert heatmap.max() < 0
    assert heatmap.mean().item() == pytest.approx(-2.19, abs=0.5)


def test_initialisation():
    head = make_head(in_channels=64, feat_channels=64, num_stacks=2)
    assert len(head.stacks) == 2
    for branches in head.stacks:
        torch.testing.assert_close(
            branches['heatmap'][-1].bias, torch.full((CLASSES,), -2.19), rtol=0, atol=0.01)
        for name in ('wh', 'offset'):
            for layer in (branches[name][0], branches[name][-1]):
                assert layer.weight.std().item() == pytest.approx(0.001, rel=0.3)
                assert (layer.bias == 0).all()


def test_stacks_have_weights_of_their_own_and_all_count():
    head = make_head(num_stacks=2)
    outputs, = head(make_features(stacks=2))
    instances = make_objects(3, 2)
    losses = losses_of(head, outputs, instances)
    each = [losses_of(head, [output], instances) for output in outputs]
    assert set(losses) == LOSSES
    for name in LOSSES:
        assert each[0][name] != each[1][name]
        torch.testing.assert_close(losses[name], each[0][name] + each[1][name])


def test_the_last_stack_is_decoded():
    head = make_head()
    outputs = [make_outputs(seed=seed) for seed in (5, 6)]
    metas = [NO_CHANGE] * 2
    both = head.predict_by_feat(outputs, metas)
    last = head.predict_by_feat(outputs[1:], metas)
    first = head.predict_by_feat(outputs[:1], metas)
    for image in range(2):
        assert torch.equal(both[image].bboxes, last[image].bboxes)
        assert not torch.equal(both[image].bboxes, first[image].bboxes)


def test_predicts_where_gradients_are_kept():
    head = make_head()
    outputs, = head(make_features())
    assert outputs[0]['heatmap'].requires_grad
    assert len(head.predict_by_feat(outputs, [NO_CHANGE] * 2)) == 2


def test_number_of_feature_maps_must_be_that_of_stacks():
    with pytest.raises(ValueError, match=r'2 stack\(s\).*3 feature map\(s\).*num_stacks'):
        make_head(num_stacks=2)(make_features(stacks=3))


@pytest.mark.parametrize('shared_cells', ['last', 'all'])
@pytest.mark.parametrize('counts', [(5, 0), (0, 0), (1, 7)], ids=str)
def test_losses_equal_loop(counts, shared_cells):
    head = make_head(
        coder=dict(type='mmdet_centernet.CenterNetBoxCoder', shared_cells=shared_cells))
    outputs = make_outputs()
    instances = make_objects(*counts)
    losses = losses_of(head, [outputs], instances)
    expected = losses_slowly(outputs, instances, shared_cells)
    assert set(losses) == set(expected) == LOSSES
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-5), name


def test_shared_cells_make_a_difference():
    """So that the two settings above cannot both be the same thing."""
    outputs, instances = make_outputs(), make_objects(5, 4)
    values = [
        losses_of(
            make_head(coder=dict(type='mmdet_centernet.CenterNetBoxCoder', shared_cells=choice)),
            [outputs], instances)['loss_wh'].item()
        for choice in ('last', 'all')]
    assert values[1] > values[0] * 1.05


@pytest.mark.parametrize('counts', [(0, 0), (0, 3)], ids=['no object', 'an empty image'])
def test_every_parameter_gets_a_gradient(counts):
    """Also without any object; DistributedDataParallel waits for those it does not get."""
    head = make_head(num_stacks=2)
    outputs, = head(make_features(stacks=2))
    losses = losses_of(head, outputs, make_objects(*counts))
    if not sum(counts):
        assert losses['loss_wh'] == losses['loss_offset'] == 0
    assert torch.isfinite(losses['loss_center_heatmap']) and losses['loss_center_heatmap'] > 0
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        is_regression = '.wh.' in name or '.offset.' in name
        if not (is_regression and not sum(counts)):
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize('counts', [(4, 6), (0, 0)], ids=str)
def test_focal_loss_of_mmdet_gives_the_same(counts):
    """It takes probabilities and a dense target, ours logits and a sparse one."""
    mine, other = make_head(), make_head(
        loss_center_heatmap=dict(type='mmdet.GaussianFocalLoss', loss_weight=1.0))
    instances = make_objects(*counts)
    results = []
    for head in (mine, other):
        outputs, = head(make_features())
        losses = losses_of(head, outputs, instances)
        sum(losses.values()).backward()
        results.append((losses, [p.grad for p in head.parameters()]))
    for name in LOSSES:
        torch.testing.assert_close(results[0][0][name], results[1][0][name], rtol=1e-5, atol=0)
    for mine_grad, other_grad in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(mine_grad, other_grad, rtol=1e-4, atol=1e-6)


def test_in_a_config_of_mmdet():
    """Only the head's type differs from MMDetection's configs; one step, one prediction."""
    torch.manual_seed(0)
    model = ROOT_MODELS.build(ConfigDict(
        type='CenterNet',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
        backbone=dict(
            type='ResNet', depth=18, norm_eval=False, norm_cfg=dict(type='BN'), base_channels=8),
        neck=dict(
            type='CTResNetNeck', in_channels=64, num_deconv_filters=(32, 16, 8),
            num_deconv_kernels=(4, 4, 4), use_dcn=False),
        bbox_head=dict(
            type='mmdet_centernet.CenterNetHead', num_classes=CLASSES, in_channels=8,
            feat_channels=8,
            loss_center_heatmap=dict(type='GaussianFocalLoss', loss_weight=1.0),
            loss_wh=dict(type='L1Loss', loss_weight=0.1),
            loss_offset=dict(type='L1Loss', loss_weight=1.0)),
        train_cfg=None,
        test_cfg=dict(topk=100, local_maximum_kernel=3, max_per_img=100)))
    assert type(model).__module__.startswith('mmdet.')
    assert type(model.neck).__module__.startswith('mmdet.')
    assert isinstance(model.bbox_head, CenterNetHead)
    model.init_weights()
    batch = dict(
        inputs=[torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in range(2)],
        data_samples=samples(2, (64, 96), 3, CLASSES))
    before = copy.deepcopy(model.state_dict())
    log = model.train_step(
        copy.deepcopy(batch), OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01)))
    assert set(log) == LOSSES | {'loss'}
    assert all(torch.isfinite(value) for value in log.values())
    assert any(
        not torch.equal(value, before[name]) for name, value in model.bbox_head.state_dict(
            prefix='bbox_head.').items())
    for sample in model.eval().test_step(batch):
        found = sample.pred_instances
        assert 0 < len(found) <= 100
        assert found.bboxes.shape == (len(found), 4) and torch.isfinite(found.bboxes).all()
        assert ((found.scores > 0) & (found.scores < 1)).all()


def predict(outputs, metas=None, rescale=True, **test_cfg):
    head = make_head(test_cfg=test_cfg)
    return head.predict_by_feat(
        [outputs], metas or [NO_CHANGE] * len(outputs['wh']), rescale=rescale)


def peaks_slowly(outputs, image):
    """All peaks of an image as (score, label, box in input pixels), best first."""
    heatmap, (w, h), (dx, dy) = (
        outputs[name][image].double().tolist() for name in ('heatmap', 'wh', 'offset'))
    found = []
    for label, plane in enumerate(heatmap):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                rows = plane[max(y - 1, 0):y + 2]
                if plane[y][x] >= max(max(row[max(x - 1, 0):x + 2]) for row in rows):
                    center_x, center_y = x + dx[y][x], y + dy[y][x]
                    half_w, half_h = w[y][x] / 2, h[y][x] / 2
                    box = (center_x - half_w, center_y - half_h,
                           center_x + half_w, center_y + half_h)
                    found.append((
                        1 / (1 + math.exp(-plane[y][x])), label, [STRIDE * v for v in box]))
    return sorted(found, key=lambda peak: -peak[0])


def assert_found(instances, expected):
    """``instances`` are the (score, label, box) expected, in this order."""
    assert isinstance(instances, InstanceData)
    assert len(instances) == len(expected)
    assert instances.labels.tolist() == [label for _, label, _ in expected]
    assert instances.scores.tolist() == pytest.approx([score for score, _, _ in expected])
    for box, (_, _, wanted) in zip(instances.bboxes.tolist(), expected, strict=True):
        assert box == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize('max_per_img', [1, 7, 1000])
def test_detections_equal_loop(max_per_img):
    """1000: no more than there are peaks come back, without any fill."""
    outputs = make_outputs()
    for image, found in enumerate(predict(outputs, max_per_img=max_per_img)):
        assert_found(found, peaks_slowly(outputs, image)[:max_per_img])


def test_an_image_with_fewer_peaks_returns_these():
    outputs = make_outputs()
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing='ij')
    # A single hill in each class of image 0: what is not a peak is no detection.
    outputs['heatmap'][0] = -torch.hypot(y - 4.1, x - 13.2)
    found = predict(outputs, max_per_img=50)
    assert sorted(found[0].labels.tolist()) == list(range(CLASSES))
    assert len(found[1]) == 50
    assert_found(found[1], peaks_slowly(outputs, 1)[:50])


def test_defaults_without_a_test_config():
    outputs = make_outputs()
    found = make_head().predict_by_feat([outputs], [NO_CHANGE] * 2)
    for image in range(2):
        assert_found(found[image], peaks_slowly(outputs, image)[:100])


def test_score_threshold():
    outputs = make_outputs()
    for image, found in enumerate(predict(outputs, score_thr=0.5)):
        expected = [peak for peak in peaks_slowly(outputs, image) if peak[0] > 0.5]
        assert 0 < len(expected) < 100
        assert_found(found, expected)
    empty = predict(outputs, score_thr=1.0)[0]
    assert empty.bboxes.shape == (0, 4) and len(empty.scores) == len(empty.labels) == 0


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) / (
        1 - both / sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)))


def nms_slowly(peaks, threshold):
    kept = []
    for peak in peaks:
        if all(peak[1] != other[1] or overlap(peak[2], other[2]) <= threshold for other in kept):
            kept.append(peak)
    return kept


@pytest.mark.parametrize('max_per_img', [9, 100])
def test_nms_of_more_peaks_than_wanted(max_per_img):
    """Within classes; what it drops is made up for from the ``topk`` best."""
    outputs = make_outputs()
    # Squares so large that neighbours overlap by more than a half.
    outputs['wh'] += 10
    dropped = 0
    results = predict(
        outputs, topk=60, max_per_img=max_per_img, nms=dict(type='nms', iou_threshold=0.5))
    for image, found in enumerate(results):
        peaks = peaks_slowly(outputs, image)[:60]
        kept = nms_slowly(peaks, 0.5)
        dropped += len(peaks) - len(kept)
        assert_found(found, kept[:max_per_img])
    assert dropped > 10


def test_nms_without_detections():
    found = predict(make_outputs(), score_thr=1.0, nms=dict(type='nms', iou_threshold=0.5))
    assert [len(image) for image in found] == [0, 0]


def back_by_corners(box, matrix):
    """The upright box around four corners taken through the inverse."""
    x1, y1, x2, y2 = box
    corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]]).T
    moved = np.linalg.inv(matrix) @ corners
    return [*moved[:2].min(axis=1), *moved[:2].max(axis=1)]


def test_rescale_through_homographies():
    """Each image by its own: one scaled and shifted, one mirrored, one turned upright."""
    outputs = make_outputs(batch=3)
    matrices = [
        np.array([[0.5, 0, 7], [0, 0.7, -11], [0, 0, 1]]),
        np.array([[-1.5, 0, 79], [0, 1.25, 3], [0, 0, 1]]),
        np.array([[0, 2, -5], [-1, 0, 60], [0, 0, 1.0]])]
    metas = [dict(homography_matrix=matrix.astype(np.float32)) for matrix in matrices]
    results = predict(outputs, metas, max_per_img=30)
    for image, (found, matrix) in enumerate(zip(results, matrices, strict=True)):
        expected = [
            (score, label, back_by_corners(box, matrix.astype(np.float32)))
            for score, label, box in peaks_slowly(outputs, image)[:30]]
        assert_found(found, expected)
        assert (found.bboxes[:, 2:] > found.bboxes[:, :2]).all()
    unmoved = predict(outputs, metas, rescale=False, max_per_img=30)
    for image, found in enumerate(unmoved):
        assert_found(found, peaks_slowly(outputs, image)[:30])


def test_rescale_by_border_and_scale_factor():
    """The metainfo of MMDetection's pipelines, in parts or missing."""
    outputs = make_outputs(batch=4)
    top, left, (scale_x, scale_y) = 6, 10, (0.5, 0.8)
    border, scale = dict(border=(top, 40, left, 70)), dict(scale_factor=(scale_x, scale_y))
    results = predict(outputs, [border | scale, border, scale, {}], max_per_img=20)
    shifts = [(left, top), (left, top), (0, 0), (0, 0)]
    scales = [(scale_x, scale_y), (1, 1), (scale_x, scale_y), (1, 1)]
    for image, found in enumerate(results):
        (dx, dy), (sx, sy) = shifts[image], scales[image]
        assert_found(found, [
            (score, label, [
                (box[0] - dx) / sx, (box[1] - dy) / sy, (box[2] - dx) / sx, (box[3] - dy) / sy])
            for score, label, box in peaks_slowly(outputs, image)[:20]])


def test_homography_goes_before_border_and_scale():
    outputs = make_outputs(batch=1)
    metas = [dict(NO_CHANGE, border=(1, 2, 3, 4), scale_factor=(5, 6))]
    assert_found(predict(outputs, metas)[0], peaks_slowly(outputs, 0)[:100])


def test_a_predicted_size_below_zero_stays_recognisable():
    """Early in training; a mirrored image does not turn such a box into a good one."""
    outputs = make_outputs(batch=1)
    outputs['wh'] = -outputs['wh']
    found = predict(outputs, [dict(homography_matrix=np.diag([-1.0, 1, 1]))])[0]
    assert (found.bboxes[:, 2:] < found.bboxes[:, :2]).all()


def test_boxes_are_cut_to_the_image_on_request():
    """To the original image's size, or to the input's where boxes are in its pixels."""
    outputs = make_outputs()
    outputs['wh'] += 8
    metas = [
        dict(homography_matrix=np.diag([0.5, 2.0, 1]), ori_shape=(20, 150), img_shape=(40, 75)),
        dict(homography_matrix=np.eye(3), ori_shape=(30, 50), img_shape=(44, 70))]
    for rescale, key in ((True, 'ori_shape'), (False, 'img_shape')):
        free = predict(outputs, metas, rescale=rescale)
        cut = predict(outputs, metas, rescale=rescale, clip_boxes=True)
        for image, meta in enumerate(metas):
            height, width = meta[key]
            expected = [
                [min(max(v, 0), side) for v, side in zip(box, (width, height) * 2, strict=True)]
                for box in free[image].bboxes.tolist()]
            assert cut[image].bboxes.tolist() == pytest.approx(np.array(expected))
            assert cut[image].scores.tolist() == free[image].scores.tolist()
            assert not torch.equal(cut[image].bboxes, free[image].bboxes)


def test_sizes_per_class_are_decoded():
    outputs = make_outputs()
    torch.manual_seed(9)
    per_class = torch.rand(2, 2 * CLASSES, HEIGHT, WIDTH) * 6 + 1
    found = make_head(wh_per_class=True, test_cfg=dict(max_per_img=40)).predict_by_feat(
        [dict(outputs, wh=per_class)], [NO_CHANGE] * 2)
    for image in range(2):
        for label in range(CLASSES):
            own = dict(outputs, wh=per_class[:, 2 * label:2 * label + 2])
            of_class = [peak for peak in peaks_slowly(own, image) if peak[1] == label]
            kept = found[image][found[image].labels == label]
            assert len(kept) > 3
            assert_found(kept, of_class[:len(kept)])


def test_normalised_branches():
    """Convolution without bias, normalisation, ReLU, 1x1, as bubbliiiing's heads."""
    head = make_head(norm_cfg=dict(type='BN'))
    assert [type(layer).__name__ for layer in head.stacks[0]['wh']] == [
        'Conv2d', 'BatchNorm2d', 'ReLU', 'Conv2d']
    assert head.stacks[0]['wh'][0].bias is None
    assert head.stacks[0]['wh'][1].weight.std() == 0  # not drawn like a convolution
    features = make_features()
    conv, norm, _, last = head.eval().stacks[0]['heatmap']
    inner = torch.nn.functional.conv2d(features[0], conv.weight, padding=1)
    inner = (inner - norm.running_mean.view(-1, 1, 1)) / (
        norm.running_var.view(-1, 1, 1) + norm.eps).sqrt()
    expected = torch.nn.functional.conv2d(inner.clamp(min=0), last.weight, last.bias)
    torch.testing.assert_close(head(features)[0][0]['heatmap'], expected)


def test_the_last_stack_alone():
    head = make_head(num_stacks=2)
    features = make_features(stacks=2)
    last = head.forward_last(features)
    for name, value in head(features)[0][-1].items():
        assert torch.equal(last[name], value)
    with pytest.raises(ValueError, match=r'2 stack\(s\).*1 feature map\(s\)'):
        head.forward_last(features[:1])
    metas = samples(2, SIZE, 0, CLASSES)
    computed = []
    head.stacks[0]['heatmap'].register_forward_hook(lambda *_: computed.append(0))
    head.stacks[1]['heatmap'].register_forward_hook(lambda *_: computed.append(1))
    assert len(head.predict(features, metas)) == 2
    assert computed == [1]


def test_merging_mirrored_outputs_equals_loop():
    """Objects as Points, Sec. 5: probabilities and sizes averaged, offsets kept."""
    both = make_outputs(batch=4, seed=8)
    both['heatmap'][0, 0, 0, :2] = torch.tensor([90.0, -200.0])  # probabilities 1 and 0
    both['heatmap'][2, 0, 0, -2:] = torch.tensor([-200.0, 90.0])
    merged = make_head().merge_flipped(both)
    assert list(merged) == list(both)
    for image in range(2):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                there = image + 2, slice(None), y, WIDTH - 1 - x
                here = image, slice(None), y, x
                p = (both['heatmap'][here].double().sigmoid()
                     + both['heatmap'][there].double().sigmoid()) / 2
                torch.testing.assert_close(
                    merged['heatmap'][here].double().sigmoid(), p, rtol=1e-6, atol=1e-7)
                torch.testing.assert_close(
                    merged['wh'][here], (both['wh'][here] + both['wh'][there]) / 2)
    assert torch.equal(merged['offset'], both['offset'][:2])
