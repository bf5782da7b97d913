"""The head of all tasks: branches, losses, predictions, flips, and what it refuses."""
import numpy as np
import pytest
import torch
from helpers.boxes import CLASSES, HEIGHT, WIDTH, make_objects, make_outputs
from helpers.heads import as_probabilities, assert_all_get_gradients, encode
from helpers.models import samples
from mmdet.structures import DetDataSample
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from reference.boxes import nms_slowly
from reference.detection import STRIDE, decode_slowly
from torch import nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import Box, Branch, JointLoss, Keypoints, Property

pytestmark = pytest.mark.usefixtures('mmdet_scope')
SIZE = HEIGHT * STRIDE, WIDTH * STRIDE
LOSSES = {'loss_center_heatmap', 'loss_wh', 'loss_offset'}
NO_CHANGE = dict(homography_matrix=np.eye(3))
BOX = dict(type='mmdet_centernet.Box')


def make_head(seed=0, properties=(BOX,), **options):
    torch.manual_seed(seed)
    head = CenterHead(**{**dict(
        num_classes=CLASSES, in_channels=6, feat_channels=5, properties=properties,
        normalizer='peaks'), **options})
    head.init_weights()
    return head


def make_features(batch=2, stacks=1, seed=1):
    torch.manual_seed(seed)
    return [torch.randn(batch, 6, HEIGHT, WIDTH) for _ in range(stacks)]


def losses_of(head, outputs, instances):
    return head.loss_by_feat(outputs, instances, [{}] * len(instances))


def test_forward_gives_logits_by_name():
    """Heatmaps start at logit -2.19, below zero: probabilities appear nowhere."""
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


def test_init_weights_of_every_stack():
    head = make_head(in_channels=64, feat_channels=64, num_stacks=2)
    assert len(head.stacks) == 2
    for branches in head.stacks:
        torch.testing.assert_close(
            branches['heatmap'][-1].bias, torch.full((CLASSES,), -2.19), rtol=0, atol=0.01)
        for name in ('wh', 'offset'):
            for layer in (branches[name][0], branches[name][-1]):
                assert layer.weight.std().item() == pytest.approx(0.001, rel=0.3)
                assert (layer.bias == 0).all()


def test_init_without_properties_has_a_heatmap_alone():
    """Its detections are points: scores and labels."""
    head = make_head(properties=(), test_cfg=dict(max_per_img=40))
    assert list(head.stacks[0]) == ['heatmap'] and head.task == 'detection'
    outputs = dict(heatmap=make_outputs()['heatmap'])
    assert set(losses_of(head, [outputs], make_objects(3, 0))) == {'loss_center_heatmap'}
    for found in head.predict_by_feat([outputs], [NO_CHANGE] * 2):
        assert set(found.keys()) == {'scores', 'labels'} and len(found) == 40


def test_norm_cfg_gives_normalized_branches():
    """Convolution without bias, normalization, ReLU, 1x1, as in bubbliiiing's heads."""
    head = make_head(norm_cfg=dict(type='BN'))
    assert [type(layer).__name__ for layer in head.stacks[0]['wh']] == [
        'Conv2d', 'BatchNorm2d', 'ReLU', 'Conv2d']
    assert head.stacks[0]['wh'][0].bias is None
    assert head.stacks[0]['wh'][1].weight.std() == 0  # not drawn like a convolution
    features = make_features()
    conv, norm, _, last = head.eval().stacks[0]['heatmap']
    inner = nn.functional.conv2d(features[0], conv.weight, padding=1)
    inner = (inner - norm.running_mean.view(-1, 1, 1)) / (
        norm.running_var.view(-1, 1, 1) + norm.eps).sqrt()
    expected = nn.functional.conv2d(inner.clamp(min=0), last.weight, last.bias)
    torch.testing.assert_close(head(features)[0][0]['heatmap'], expected)


def test_losses_of_stacks_with_weights_of_their_own_add_up():
    head = make_head(num_stacks=2)
    outputs, = head(make_features(stacks=2))
    instances = make_objects(3, 2)
    losses = losses_of(head, outputs, instances)
    each = [losses_of(head, [output], instances) for output in outputs]
    assert set(losses) == LOSSES
    for name in LOSSES:
        assert each[0][name] != each[1][name]
        torch.testing.assert_close(losses[name], each[0][name] + each[1][name])


def test_number_of_feature_maps_must_be_that_of_stacks():
    with pytest.raises(ValueError, match=r'2 stack\(s\).*3 feature map\(s\).*num_stacks'):
        make_head(num_stacks=2)(make_features(stacks=3))


@pytest.mark.parametrize('counts', [(0, 0), (0, 3)], ids=['no object', 'an empty image'])
def test_every_parameter_gets_a_gradient(counts):
    """That of the heatmap is not zero even without any object."""
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
    instances = make_objects(*counts)
    results = []
    for loss in (None, dict(type='mmdet.GaussianFocalLoss', loss_weight=1.0)):
        head = make_head(loss_center_heatmap=loss)
        outputs, = head(make_features())
        losses = losses_of(head, outputs, instances)
        sum(losses.values()).backward()
        results.append((losses, [p.grad for p in head.parameters()]))
    for name in LOSSES:
        torch.testing.assert_close(results[0][0][name], results[1][0][name], rtol=1e-5, atol=0)
    for mine_grad, other_grad in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(mine_grad, other_grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('loss', [
    dict(type='mmdet_centernet.GaussianFocalLoss'), dict(type='mmdet.GaussianFocalLoss'),
    dict(type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4)],
    ids=['ours', 'MMDetection', 'clamped'])
@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_ignored_cells_cost_nothing(ignore, loss):
    """Whatever the network predicts there; and their gradient is exactly zero."""
    head = make_head(coder=dict(ignore=ignore), loss_center_heatmap=loss)
    instances = make_objects(1, 0)
    row = InstanceData(bboxes=torch.tensor([[20.0, 12, 60, 30]]), labels=torch.tensor([1]))
    ignored = [None, row]
    there = encode(head, instances, (2, CLASSES, HEIGHT, WIDTH), ignored=ignored).heatmap.ignored
    assert there.sum() == (1 if ignore == 'center' else 11 * 5)
    outputs = make_outputs()
    losses, grads = [], []
    for shift in (0, 8, -5):
        logits = torch.where(
            there, outputs['heatmap'] + shift, outputs['heatmap']).requires_grad_()
        loss = head.loss_by_feat(
            [dict(outputs, heatmap=logits)], instances, [{}] * 2, ignored)['loss_center_heatmap']
        loss.backward()
        losses.append(loss.item())
        grads.append(logits.grad)
    assert losses[0] == losses[1] == losses[2]
    assert all(torch.equal(grad, grads[0]) for grad in grads)
    assert not grads[0][there].any() and grads[0][~there].all()
    without = losses_of(head, [outputs], instances)['loss_center_heatmap']
    assert without.item() > losses[0]


def test_rotated_images_cost_nothing_at_their_centers():
    """Where boxes of rotated images are not trusted, the whole heatmap is masked."""
    head = make_head(coder=dict(trust_rotated_boxes=False))
    outputs = {name: value.requires_grad_() for name, value in make_outputs().items()}
    matrix = np.array([[0.8, 0.6, 3], [-0.6, 0.8, 5], [0, 0, 1.0]])
    instances = make_objects(4, 4)
    losses = head.loss_by_feat([outputs], instances, [NO_CHANGE, dict(homography_matrix=matrix)])
    sum(losses.values()).backward()
    for name, value in outputs.items():
        assert value.grad[0].any(), name
        assert not value.grad[1].any(), name
    plain = {name: value[:1].detach() for name, value in outputs.items()}
    alone = losses_of(head, [plain], instances[:1])
    for name, value in alone.items():
        torch.testing.assert_close(losses[name].detach(), value)


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


def test_the_last_stack_alone_is_computed():
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


def test_predict_where_gradients_are_kept():
    head = make_head()
    outputs, = head(make_features())
    assert outputs[0]['heatmap'].requires_grad
    assert len(head.predict_by_feat(outputs, [NO_CHANGE] * 2)) == 2


def predict(outputs, metas=None, rescale=True, **test_cfg):
    return make_head(test_cfg=test_cfg).predict_by_feat(
        [outputs], metas or [NO_CHANGE] * len(outputs['wh']), rescale=rescale)


def detections_slowly(outputs, image, count=None):
    return decode_slowly(as_probabilities(outputs, image), count)


def assert_found(instances, expected):
    """Check that ``instances`` are the (score, label, box) expected, in this order."""
    assert isinstance(instances, InstanceData)
    assert len(instances) == len(expected)
    assert instances.labels.tolist() == [label for _, label, _ in expected]
    assert instances.scores.tolist() == pytest.approx([score for score, _, _ in expected])
    for box, (_, _, wanted) in zip(instances.bboxes.tolist(), expected, strict=True):
        assert box == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize('max_per_img', [1, 7, 1000])
def test_detections_equal_loop(max_per_img):
    """With 1000, no more than there are peaks come back, without any fill."""
    outputs = make_outputs()
    for image, found in enumerate(predict(outputs, max_per_img=max_per_img)):
        assert_found(found, detections_slowly(outputs, image, max_per_img))


def test_detections_of_an_image_with_fewer_peaks_are_these():
    outputs = make_outputs()
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing='ij')
    # A single hill in each class of image 0: what is not a peak is not a detection.
    outputs['heatmap'][0] = -torch.hypot(y - 4.1, x - 13.2)
    found = predict(outputs, max_per_img=50)
    assert sorted(found[0].labels.tolist()) == list(range(CLASSES))
    assert len(found[1]) == 50
    assert_found(found[1], detections_slowly(outputs, 1, 50))


def test_detections_without_a_test_config():
    outputs = make_outputs()
    found = make_head().predict_by_feat([outputs], [NO_CHANGE] * 2)
    for image in range(2):
        assert_found(found[image], detections_slowly(outputs, image, 100))


def test_detections_above_a_score_threshold():
    outputs = make_outputs()
    for image, found in enumerate(predict(outputs, score_thr=0.5)):
        expected = [peak for peak in detections_slowly(outputs, image) if peak[0] > 0.5]
        assert 0 < len(expected) < 100
        assert_found(found, expected)
    empty = predict(outputs, score_thr=1.0)[0]
    assert empty.bboxes.shape == (0, 4) and len(empty.scores) == len(empty.labels) == 0


@pytest.mark.parametrize('max_per_img', [9, 100])
def test_nms_of_more_peaks_than_wanted(max_per_img):
    """Within classes; what it drops is made up for from the ``topk`` best."""
    outputs = make_outputs()
    # Squares so large that neighbors overlap by more than a half.
    outputs['wh'] += 10
    dropped = 0
    results = predict(
        outputs, topk=60, max_per_img=max_per_img, nms=dict(type='nms', iou_threshold=0.5))
    for image, found in enumerate(results):
        peaks = detections_slowly(outputs, image, 60)
        scores, labels, boxes = zip(*peaks)
        kept = [peaks[i] for i in nms_slowly(boxes, scores, 0.5, labels=labels)]
        dropped += len(peaks) - len(kept)
        assert_found(found, kept[:max_per_img])
    assert dropped > 10


def test_nms_without_detections():
    found = predict(make_outputs(), score_thr=1.0, nms=dict(type='nms', iou_threshold=0.5))
    assert [len(image) for image in found] == [0, 0]


def back_by_corners(box, matrix):
    """Return the upright box around four corners taken through the inverse of a matrix."""
    x1, y1, x2, y2 = box
    corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]]).T
    back = np.linalg.inv(matrix) @ corners
    return [*back[:2].min(axis=1), *back[:2].max(axis=1)]


def test_rescale_through_homographies():
    """Each image by its own: one scaled and shifted, one flipped, one rotated by 90 degrees."""
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
            for score, label, box in detections_slowly(outputs, image, 30)]
        assert_found(found, expected)
        assert (found.bboxes[:, 2:] > found.bboxes[:, :2]).all()
    in_input = predict(outputs, metas, rescale=False, max_per_img=30)
    for image, found in enumerate(in_input):
        assert_found(found, detections_slowly(outputs, image, 30))


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
            for score, label, box in detections_slowly(outputs, image, 20)])


def test_rescale_by_homography_before_border_and_scale():
    outputs = make_outputs(batch=1)
    metas = [dict(NO_CHANGE, border=(1, 2, 3, 4), scale_factor=(5, 6))]
    assert_found(predict(outputs, metas)[0], detections_slowly(outputs, 0, 100))


def test_rescale_keeps_negative_sizes_recognizable():
    """Early in training; a flipped image does not turn such a box into a good one."""
    outputs = make_outputs(batch=1)
    outputs['wh'] = -outputs['wh']
    found = predict(outputs, [dict(homography_matrix=np.diag([-1.0, 1, 1]))])[0]
    assert (found.bboxes[:, 2:] < found.bboxes[:, :2]).all()


def test_clip_boxes_to_the_image():
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


def test_merge_flipped_equals_loop():
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


class Spread(Property):
    """A property of the tests: the diagonal of the box, from a joint loss of two branches.

    It needs a field of the annotations and one of the images.
    """

    needs = dict(texture='load it with a LoadTexture')
    image_inputs = dict(exposure='the exposure, which a PackExposure packs')
    task = 'spread'

    def __init__(self):
        super().__init__()
        self.branches = dict(left=Branch(1, None), right=Branch(1, None))
        self.joint_losses = dict(spread=JointLoss(
            dict(type='mmdet.L1Loss'), ('left', 'right'), lambda target, left, right: torch.cat(
                (left, right), dim=1)))

    def encode(self, centers, batch_gt_instances, batch_img_metas):
        exposure = centers.inputs['exposure'][centers.images]
        return dict(spread=centers.at_centers(centers.wh * exposure[:, None]))

    def decode(self, outputs, peaks, detections):
        left, right = (peaks.read(outputs[name])[..., 0] for name in ('left', 'right'))
        return dict(spread=(left**2 + right**2).sqrt() / peaks.inputs['exposure'][:, None])


def test_properties_may_be_objects_or_configs():
    """Both give the same network; the head asks its properties for the task."""
    one, other = make_head(properties=[BOX]), make_head(properties=[Box()])
    assert one.state_dict().keys() == other.state_dict().keys()
    assert one.task == 'detection' and not one.image_inputs
    head = make_head(properties=[BOX, Spread()])
    assert head.task == 'spread' and head.image_inputs == Spread.image_inputs
    assert isinstance(head.find_property(Box), Box) and head.find_property(Keypoints) is None


def test_properties_with_branches_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two properties have a branch 'wh'"):
        make_head(properties=[BOX, BOX])
    with pytest.raises(ValueError, match="two properties have a branch 'heatmap'"):
        head = Spread()
        head.branches['heatmap'] = head.branches.pop('left')
        make_head(properties=[head])


def with_texture(instances):
    for each in instances:
        each.texture = torch.zeros(len(each))
    return instances


def test_joint_loss_of_several_branches_equals_loop():
    head, outputs = make_head(properties=[BOX, Spread()], normalizer='objects'), make_outputs()
    torch.manual_seed(3)
    parts = {name: torch.rand(2, 1, HEIGHT, WIDTH) for name in ('left', 'right')}
    outputs |= {name: value.clone().requires_grad_() for name, value in parts.items()}
    instances = with_texture(make_objects(2, 1))
    losses = head.loss_by_feat([outputs], instances, [dict(exposure=2.0), dict(exposure=0.5)])
    assert set(losses) == LOSSES | {'loss_spread'}
    centers = encode(head, instances, (2, CLASSES, HEIGHT, WIDTH),
                     [dict(exposure=2.0), dict(exposure=0.5)]).centers
    total = sum(
        abs(float(parts[name][centers.images[n], 0].flatten()[centers.cells[n]])
            - float(centers.wh[n, axis]) * (2.0, 0.5)[centers.images[n]])
        for n in range(3) for axis, name in enumerate(('left', 'right')))
    assert losses['loss_spread'].item() == pytest.approx(total / (2 * 3 + 1e-4), rel=1e-5)
    losses['loss_spread'].backward()
    assert all((outputs[name].grad != 0).sum() == 3 for name in ('left', 'right'))


def test_decode_reads_what_images_have_besides_pixels():
    head, outputs = make_head(properties=[Spread()]), make_outputs()
    del outputs['wh'], outputs['offset']
    outputs |= dict(left=torch.full((2, 1, HEIGHT, WIDTH), 3.0),
                    right=torch.full((2, 1, HEIGHT, WIDTH), 4.0))
    found = head.predict_by_feat([outputs], [dict(exposure=2.0), dict(exposure=0.5)])
    for each, value in zip(found, (2.5, 10.0)):
        assert set(each.keys()) == {'scores', 'labels', 'spread'}
        torch.testing.assert_close(each.spread, torch.full((len(each),), value))


def test_needs_that_are_missing_end_in_one_message():
    """It names image and field, and says where the field comes from."""
    head, outputs = make_head(properties=[BOX, Spread()]), make_outputs()
    outputs |= {name: torch.zeros(2, 1, HEIGHT, WIDTH) for name in ('left', 'right')}
    instances = make_objects(2, 0)
    metas = [dict(img_path=f'{n}.png', exposure=1.0) for n in range(2)]
    instances[0].texture = torch.zeros(2)
    with pytest.raises(UserError, match='^1.png comes without texture: load it with a LoadTex'):
        head.loss_by_feat([outputs], instances, metas)
    plain = with_texture(make_objects(2, 0))
    del plain[0].bboxes
    with pytest.raises(UserError, match='^0.png comes without bboxes: load .*LoadAnnotations'):
        head.loss_by_feat([outputs], plain, metas)


@pytest.mark.parametrize('meta', [dict(img_path='1.png'), dict(img_path='1.png', exposure=None)],
                         ids=str)
def test_image_inputs_that_are_missing_end_in_one_message(meta):
    """In training and in prediction; an image without a path has a name, too."""
    head, outputs = make_head(properties=[BOX, Spread()]), make_outputs()
    outputs |= {name: torch.zeros(2, 1, HEIGHT, WIDTH) for name in ('left', 'right')}
    metas = [dict(img_path='0.png', exposure=1.0), meta]
    with pytest.raises(UserError, match='^1.png comes without exposure, the exposure, which a '
                                        'PackExposure packs$'):
        head.loss_by_feat([outputs], with_texture(make_objects(2, 0)), metas)
    with pytest.raises(UserError, match='^1.png comes without exposure'):
        head.predict_by_feat([outputs], metas)
    del meta['img_path']
    with pytest.raises(UserError, match='^an image comes without exposure'):
        head.predict_by_feat([outputs], metas)


@pytest.mark.parametrize('options, words', [
    (dict(normalizer='boxes'), "normalizer = 'boxes'.*peaks.*objects.*slots"),
    (dict(max_objects=0), 'max_objects = 0')])
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        make_head(**options)


def test_property_that_overrides_nothing_says_what_is_missing():
    head = make_head(properties=[Property()])
    with pytest.raises(NotImplementedError, match='Property.encode'):
        losses_of(head, [make_outputs()], make_objects(1, 0))
    with pytest.raises(NotImplementedError, match='Property.decode'):
        head.predict_by_feat([make_outputs()], [NO_CHANGE] * 2)


COMPOSED = dict(
    type='mmdet_centernet.CenterHead', num_classes=3, in_channels=8, feat_channels=8,
    properties=[
        BOX,
        dict(type='mmdet_centernet.Keypoints', num_keypoints=4, classes=['person']),
        dict(type='mmdet_centernet.Attribute', name='ripeness', num_classes=4),
        dict(type='mmdet_centernet.Attribute', name='tags', kind='multi_label', num_classes=2),
        dict(type='mmdet_centernet.Attribute', name='age', kind='number', mean=30, std=10)])
COMPOSED_LOSSES = {f'loss_{name}' for name in (
    'center_heatmap', 'wh', 'offset', 'keypoint_displacement', 'keypoint_heatmap',
    'keypoint_offset', 'attribute_ripeness', 'attribute_tags', 'attribute_age')}
CLASS_NAMES = dict(classes=['tree', 'person', 'car'])


def composed_detector(**test_cfg):
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='mmdet_centernet.CenterNet', data_preprocessor=dict(type='mmdet.DetDataPreprocessor'),
        backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, num_stages=2,
                      strides=(1, 2), dilations=(1, 1), out_indices=(1, ), norm_eval=False),
        neck=dict(type='mmdet_centernet.CTResNetNeck', in_channels=16, num_deconv_filters=(8, ),
                  num_deconv_kernels=(4, ), use_dcn=False),
        bbox_head=COMPOSED, test_cfg=test_cfg))
    model.bbox_head.use_dataset(CLASS_NAMES)
    return model


def composed_samples(count):
    """Return two images with some attributes that nobody has labeled."""
    result = samples(2, (64, 96), count, 3)
    for sample in result:
        found = sample.gt_instances
        found.keypoints = torch.rand(count, 4, 2) * 60
        found.keypoints_visible = torch.ones(count, 4)
        found.attribute_ripeness = torch.tensor([0.0, 3, float('nan')]).repeat(count)[:count]
        found.attribute_tags = torch.tensor([[0.0, 1], [float('nan')] * 2]).repeat(count, 1)[
            :count]
        found.attribute_age = torch.tensor([float('nan'), 12.0]).repeat(count)[:count]
    return result


def images():
    torch.manual_seed(0)
    return [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in range(2)]


def test_composed_head_gives_every_parameter_a_gradient():
    """Box, keypoints of one class and attributes from one config, with and without objects."""
    for normalizer in ('peaks', 'objects', 'slots'):
        head = MODELS.build(dict(COMPOSED, normalizer=normalizer))
        head.use_dataset(CLASS_NAMES)
        for count in (6, 0):
            case = normalizer, count
            data = composed_samples(count)
            losses = head.loss_by_feat(
                head([torch.randn(2, 8, 16, 24)])[0], [each.gt_instances for each in data],
                [each.metainfo for each in data])
            assert set(losses) == COMPOSED_LOSSES, case
            for name in COMPOSED_LOSSES - {'loss_center_heatmap', 'loss_keypoint_heatmap'}:
                assert (losses[name] > 0) == bool(count), (case, name)
            assert_all_get_gradients(head, losses, case)


@pytest.mark.parametrize('count', [6, 0])
def test_composed_head_trains_a_step(count):
    model = composed_detector().train()
    before = {name: value.clone() for name, value in model.bbox_head.state_dict().items()}
    log = model.train_step(
        dict(inputs=images(), data_samples=composed_samples(count)),
        OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01)))
    assert set(log) == COMPOSED_LOSSES | {'loss'}
    assert all(torch.isfinite(value) for value in log.values())
    for name, value in model.bbox_head.state_dict().items():
        moves = count or 'heatmap' in name
        assert not moves or not torch.equal(value, before[name]), name


def test_composed_head_predicts_all_fields():
    model = composed_detector(max_per_img=20).eval()
    assert model.bbox_head.task == 'pose'
    data = [DetDataSample(metainfo=dict(
        homography_matrix=np.diag([0.5, 0.5, 1]), img_shape=(64, 96))) for _ in range(2)]
    with torch.no_grad():
        found = model.test_step(dict(inputs=images(), data_samples=data))
    for sample in found:
        instances = sample.pred_instances
        assert {name: tuple(value.shape) for name, value in instances.items()} == dict(
            bboxes=(20, 4), scores=(20,), labels=(20,), keypoints=(20, 4, 2),
            keypoint_scores=(20, 4), attribute_ripeness=(20, 4), attribute_tags=(20, 2),
            attribute_age=(20,))
        assert all(torch.isfinite(value).all() for value in instances.values())
