"""The pose head: losses against the original's formulas as loops, options, predictions, flips."""
import math

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from pose_reference import STRIDE, decode_slowly, sample_slowly
from test_official_loss import focal_slowly
from test_pose_coder import (
    CLASSES,
    JOINTS,
    PLACES,
    arrays,
    dense_slowly,
    make_people,
    random_output,
)

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import (
    CenterNetPoseHead,
    base_center_head,
    centernet_pose_head,
)

HEIGHT, WIDTH = 13, 18
PAIRS = [(1, 2), (3, 4)]
CHANNELS = dict(heatmap=CLASSES, wh=2, offset=2, keypoint_displacement=2 * JOINTS,
                keypoint_heatmap=JOINTS, keypoint_offset=2)
FOCAL = dict(type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4)
WEIGHTS = dict(heatmap=1, wh=0.1, offset=1, keypoint_displacement=1, keypoint_heatmap=1,
               keypoint_offset=1)
UPRIGHT, TURNED = np.eye(3), np.array([[0.8, 0.6, 3], [-0.6, 0.8, 5], [0, 0, 1.0]])


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def make_head(dense=False, **options):
    torch.manual_seed(0)
    head = CenterNetPoseHead(**{**dict(
        num_classes=CLASSES, num_keypoints=JOINTS, in_channels=8, feat_channels=8,
        coder=dict(type='mmdet_centernet.CenterNetPoseCoder', dense_displacement=dense),
        loss_center_heatmap=FOCAL, loss_keypoint_heatmap=FOCAL), **options})
    return head


def make_scenes(*counts, seed=0):
    rng = np.random.default_rng(seed)
    return [make_people(rng, STRIDE * WIDTH, STRIDE * HEIGHT, count) for count in counts]


def instances_of(scenes):
    names = 'bboxes', 'labels', 'keypoints', 'keypoints_visible'
    return [InstanceData(**dict(zip(names, arrays(people)))) for people in scenes]


def make_outputs(batch, seed=1, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    outputs = [random_output(rng, HEIGHT, WIDTH) for _ in range(batch)]
    return {name: torch.from_numpy(np.stack([output[name] for output in outputs])).to(dtype)
            for name in CHANNELS}


def metas_of(rotated):
    return [dict(homography_matrix=TURNED if turned else UPRIGHT) for turned in rotated]


def losses_slowly(outputs, scenes, rotated, dense=False):
    """By branch; sums over people, joints and cells, then the original's divisors."""
    cells = np.array([[1 / STRIDE, 0, 0], [0, 1 / STRIDE, 0]])
    shape = (CLASSES, JOINTS, HEIGHT, WIDTH)
    samples = [sample_slowly(people, shape, cells, cells + turned * 1e-12)
               for people, turned in zip(scenes, rotated)]
    values = {name: value.double().numpy() for name, value in outputs.items()}
    upright = [image for image, turned in enumerate(rotated) if not turned]
    sums, counts = dict.fromkeys(CHANNELS, 0.0), dict.fromkeys(CHANNELS, 0.0)

    def add(name, image, x, y, wanted, first=0, weight=1.0):
        for axis in range(2):
            value = values[name][image, first + axis, y, x]
            sums[name] += weight * abs(value - wanted[axis])
            counts[name] += weight

    for image, (people, sample) in enumerate(zip(scenes, samples)):
        for _, (x, y), wh, offset in sample.objects:
            add('wh', image, x, y, wh)
            add('offset', image, x, y, offset)
        for _, (x, y), offset in sample.joints:
            add('keypoint_offset', image, x, y, offset)
        if dense and not rotated[image]:
            for (joint, y, x), (weight, wanted) in dense_slowly(people, (HEIGHT, WIDTH)).items():
                add('keypoint_displacement', image, x, y, wanted, 2 * joint, weight)
        elif not dense:
            for (x, y), joint, wanted in sample.displacements:
                add('keypoint_displacement', image, x, y, wanted, 2 * joint)
    losses = {name: sums[name] / (counts[name] + 1e-4) for name in CHANNELS if sums[name]}
    losses['heatmap'] = focal_slowly(outputs['heatmap'][upright], torch.from_numpy(np.stack(
        [samples[image].heatmap for image in upright]))) if upright else 0
    losses['keypoint_heatmap'] = focal_slowly(
        outputs['keypoint_heatmap'],
        torch.from_numpy(np.stack([sample.keypoint_heatmap for sample in samples])))
    return {name: WEIGHTS[name] * losses.get(name, 0) for name in CHANNELS}


@pytest.mark.parametrize('dense', [False, True], ids=['centres', 'dense'])
@pytest.mark.parametrize('counts, rotated', [
    ((7, 0, 4), (0, 0, 0)), ((5, 6, 4), (0, 1, 0)), ((3, 5), (1, 1)), ((0, 0), (0, 0)),
    ((0, 0), (0, 1))], ids=str)
def test_losses_as_the_original(counts, rotated, dense):
    scenes, outputs = make_scenes(*counts), make_outputs(len(counts))
    losses = make_head(dense).loss_by_feat(
        [outputs], instances_of(scenes), metas_of(rotated))
    expected = losses_slowly(outputs, scenes, rotated, dense)
    assert set(losses) == {'loss_center_heatmap'} | {
        f'loss_{name}' for name in CHANNELS if name != 'heatmap'}
    losses['loss_heatmap'] = losses.pop('loss_center_heatmap')
    for name, value in expected.items():
        assert losses[f'loss_{name}'].item() == pytest.approx(value, rel=1e-5), name


def test_stacks_add_up():
    scenes, outputs = make_scenes(4, 2), [make_outputs(2, seed) for seed in (1, 2)]
    head = make_head(num_stacks=2)
    both = head.loss_by_feat(outputs, instances_of(scenes), metas_of((0, 0)))
    each = [head.loss_by_feat([output], instances_of(scenes), metas_of((0, 0)))
            for output in outputs]
    for name, value in both.items():
        assert value.item() == pytest.approx(float(each[0][name] + each[1][name]))


@pytest.mark.parametrize('dense', [False, True], ids=['centres', 'dense'])
def test_halves_of_a_batch_average_to_the_whole(dense, monkeypatch):
    """Two processes with an image each, one of them empty, as one process with both."""
    head, scenes, outputs = make_head(dense), make_scenes(4, 0), make_outputs(2)
    whole = head.loss_by_feat([outputs], instances_of(scenes), metas_of((0, 0)))

    def half(image):
        return head.loss_by_feat(
            [{name: value[image:image + 1] for name, value in outputs.items()}],
            instances_of(scenes[image:image + 1]), metas_of((0, )))

    counts = []
    monkeypatch.setattr(
        centernet_pose_head, 'reduce_mean', lambda value: counts.append(value) or value)
    half(0), half(1)
    assert len(counts) == 2  # one message for each process
    monkeypatch.setattr(
        centernet_pose_head, 'reduce_mean', lambda _: (counts[0] + counts[1]) / 2)
    monkeypatch.setattr(base_center_head, 'get_world_size', lambda: 2)
    halves = [half(0), half(1)]
    for name, value in whole.items():
        mean = (halves[0][name] + halves[1][name]) / 2
        # The 1e-4 of the divisors counts once for each process.
        assert float(mean) == pytest.approx(float(value), rel=1e-4), name


def test_images_without_a_matrix_are_upright():
    scenes, outputs = make_scenes(4, 2), make_outputs(2)
    head = make_head()
    for first, second in zip(*(head.loss_by_feat([outputs], instances_of(scenes), metas).values()
                               for metas in ([{}, {}], metas_of((0, 0))))):
        assert torch.equal(first, second)


OPTIONS = {
    (): {}, ('wh', ): dict(with_wh=False), ('offset', ): dict(with_offset=False),
    ('keypoint_offset', ): dict(with_keypoint_offset=False),
    ('keypoint_heatmap', 'keypoint_offset'): dict(with_keypoint_heatmap=False)}


@pytest.mark.parametrize('left_out', OPTIONS, ids=str)
def test_branches_can_be_left_out(left_out):
    """Neither parameters nor losses are there; the other losses stay the same."""
    head = make_head(**OPTIONS[left_out])
    assert set(head.stacks[0]) == CHANNELS.keys() - set(left_out)
    features = [torch.randn(2, 8, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))]
    output = head(features)[0][0]
    assert {name: value.shape[1] for name, value in output.items()} == {
        name: count for name, count in CHANNELS.items() if name not in left_out}
    outputs, scenes = make_outputs(2), make_scenes(5, 2)
    given = {name: value for name, value in outputs.items() if name not in left_out}
    losses = head.loss_by_feat([given], instances_of(scenes), metas_of((0, 0)))
    everything = make_head().loss_by_feat([outputs], instances_of(scenes), metas_of((0, 0)))
    assert set(losses) == set(everything) - {f'loss_{name}' for name in left_out}
    for name, value in losses.items():
        assert torch.equal(value, everything[name])
    found = head.predict_by_feat([given], metas_of((0, 0)))
    assert all(len(instances.keypoints) for instances in found)


@pytest.mark.parametrize('options', [*OPTIONS.values(), dict(dense=True)], ids=str)
@pytest.mark.parametrize('counts, rotated', [
    ((0, 0), (0, 0)), ((3, 0), (0, 0)), ((3, 2), (1, 1)), ((0, 0), (1, 1))], ids=str)
def test_every_parameter_gets_a_gradient(options, counts, rotated):
    """DistributedDataParallel waits for all of them."""
    head = make_head(**options)
    head.init_weights()
    features = [torch.randn(2, 8, HEIGHT, WIDTH)]
    losses = head.loss_by_feat(
        head(features)[0], instances_of(make_scenes(*counts)), metas_of(rotated))
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_initialisation():
    head = make_head()
    head.init_weights()
    for name, branch in head.stacks[0].items():
        wanted = -math.log(9) if name in ('heatmap', 'keypoint_heatmap') else 0
        assert branch[-1].bias.tolist() == pytest.approx([wanted] * CHANNELS[name]), name


def test_nothing_is_read_back_from_the_device():
    """The meta device has no values to read."""
    with torch.device('meta'):
        head = make_head(dense=True)
    instances = [InstanceData(**{name: value.to('meta') for name, value in each.items()})
                 for each in instances_of(make_scenes(4, 2))]
    outputs = {name: torch.empty(2, count, HEIGHT, WIDTH, device='meta', requires_grad=True)
               for name, count in CHANNELS.items()}
    for rotated in ((0, 0), (1, 0)):
        losses = head.loss_by_feat([outputs], instances, metas_of(rotated))
        sum(losses.values()).backward()
    found = head.coder.decode(**outputs)
    assert found.keypoints.is_meta


def test_predictions_equal_loop_through_the_way_back():
    """A mirrored, scaled and shifted image, and one that was only scaled."""
    outputs = make_outputs(2, dtype=torch.float64)
    matrices = [np.array([[-0.5, 0, 60], [0, 0.5, -3], [0, 0, 1]]), np.diag([2.0, 2.0, 1])]
    found = make_head(test_cfg=dict(max_per_img=12)).predict_by_feat(
        [outputs], [dict(homography_matrix=matrix) for matrix in matrices])
    for image, (instances, matrix) in enumerate(zip(found, matrices)):
        output = {name: value[image].numpy() for name, value in outputs.items()}
        for name in ('heatmap', 'keypoint_heatmap'):
            output[name] = 1 / (1 + np.exp(-output[name]))
        expected = decode_slowly(output, 12)
        assert len(instances) == len(expected) == 12
        assert instances.scores.tolist() == pytest.approx([entry[0] for entry in expected])
        assert instances.labels.tolist() == [entry[1] for entry in expected]
        for n, (_, _, box, joints) in enumerate(expected):
            wanted = [np.linalg.solve(matrix, (x, y, 1))[:2] for x, y, _ in joints]
            np.testing.assert_allclose(instances.keypoints[n], wanted, atol=1e-3)
            corners = [np.linalg.solve(matrix, (*box[i:i + 2], 1))[:2] for i in (0, 2)]
            # Left stays left in a mirror image, also of a box with a size below zero.
            center, half = np.mean(corners, axis=0), np.array(
                [box[2] - box[0], box[3] - box[1]]) / 2 / abs(matrix[0, 0])
            np.testing.assert_allclose(
                instances.bboxes[n], [*(center - half), *(center + half)], atol=1e-3)
            assert instances.keypoint_scores[n].tolist() == pytest.approx(
                [score for _, _, score in joints], abs=1e-6)


def test_suppression_keeps_joints_with_their_boxes():
    outputs = make_outputs(1)
    outputs['wh'].fill_(9)
    nms = dict(type='nms', iou_threshold=0.3)
    every, = make_head(test_cfg=dict(max_per_img=200)).predict_by_feat([outputs], metas_of([0]))
    fewer, = make_head(test_cfg=dict(max_per_img=200, nms=nms)).predict_by_feat(
        [outputs], metas_of([0]))
    assert 0 < len(fewer) < len(every)
    for n in range(len(fewer)):
        same = (every.bboxes == fewer.bboxes[n]).all(dim=1) & (every.labels == fewer.labels[n])
        assert torch.equal(every[same].keypoints[0], fewer.keypoints[n])


def test_joint_heat_maps_on_request():
    outputs = make_outputs(2)
    samples = [DetDataSample(metainfo=meta) for meta in metas_of((0, 0))]
    make_head().predict_output(outputs, samples)
    assert 'pred_fields' not in samples[0]
    head = make_head(test_cfg=dict(output_heatmaps=True))
    head.predict_output(outputs, samples)
    for image, sample in enumerate(samples):
        assert torch.equal(
            sample.pred_fields.heatmaps, outputs['keypoint_heatmap'][image].sigmoid())
        assert sample.pred_fields.stride == STRIDE
    head = make_head(with_keypoint_heatmap=False, test_cfg=dict(output_heatmaps=True))
    del outputs['keypoint_heatmap'], outputs['keypoint_offset']
    with pytest.raises(UserError, match='output_heatmaps'):
        head.predict_output(outputs, samples)


def test_merging_mirrored_outputs_equals_loop():
    """Displacements of the mirror image point the other way, and left and right change."""
    head = make_head(flip_pairs=PAIRS)
    output = make_outputs(4)
    merged = head.merge_flipped(output)
    assert merged.keys() == output.keys()
    for name, value in merged.items():
        assert value.shape == (2, CHANNELS[name], HEIGHT, WIDTH)
        for image in range(2):
            plain, mirrored = output[name][image], output[name][2 + image]
            for channel in range(CHANNELS[name]):
                for x in range(WIDTH):
                    ours, theirs = plain[channel, :, x], mirrored[channel, :, WIDTH - 1 - x]
                    if name == 'keypoint_displacement':
                        joint, axis = divmod(channel, 2)
                        theirs = mirrored[2 * PLACES[joint] + axis, :, WIDTH - 1 - x]
                        theirs = -theirs if axis == 0 else theirs
                    if name == 'keypoint_heatmap':
                        theirs = mirrored[PLACES[channel], :, WIDTH - 1 - x]
                    if 'heatmap' in name:
                        wanted = (ours.sigmoid() + theirs.sigmoid()) / 2
                        assert torch.allclose(value[image, channel, :, x].sigmoid(), wanted)
                    elif 'offset' in name:
                        assert torch.equal(value[image, channel, :, x], ours)
                    else:
                        assert torch.allclose(
                            value[image, channel, :, x], (ours + theirs) / 2, atol=1e-6)


def test_flip_testing_needs_the_pairs():
    head = make_head()
    with pytest.raises(UserError, match='flip_pairs'):
        head.merge_flipped(make_outputs(2))
    head.flip_pairs = []  # a skeleton without left and right
    assert head.merge_flipped(make_outputs(2))['wh'].shape[0] == 1


@pytest.mark.parametrize('pairs', [[(1, 5)], [(1, 2), (2, 3)], [(1, 1)], [(-1, 2)]], ids=str)
def test_pairs_of_other_joints(pairs):
    with pytest.raises(ValueError, match='flip_pairs'):
        make_head(flip_pairs=pairs)


def test_annotations_that_do_not_fit():
    head, outputs = make_head(), make_outputs(1)
    people = instances_of(make_scenes(2))
    people[0].keypoints = people[0].keypoints[:, :4]
    with pytest.raises(UserError, match=r'made.png has keypoints of shape \(2, 4, 2\)'):
        head.loss_by_feat([outputs], people, [dict(img_path='made.png')])
    del people[0].keypoints
    with pytest.raises(UserError, match='made.png comes without keypoints.*CocoPoseDataset'):
        head.loss_by_feat([outputs], people, [dict(img_path='made.png')])


def test_the_defaults_are_coco():
    head = MODELS.build(dict(type='mmdet_centernet.CenterNetPoseHead'))
    output, = head([torch.zeros(1, 64, 4, 4)])[0]
    assert {name: value.shape[1] for name, value in output.items()} == dict(
        heatmap=1, wh=2, offset=2, keypoint_displacement=34, keypoint_heatmap=17,
        keypoint_offset=2)
    assert head.losses['wh'].loss_weight == 0.1
