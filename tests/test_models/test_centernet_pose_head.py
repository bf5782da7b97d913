"""The pose head: targets and losses against the original's, options, predictions, flips."""
import math

import numpy as np
import pytest
import torch
from helpers.boxes_3d import CELLS
from helpers.heads import (
    as_probabilities,
    assert_all_get_gradients,
    encode,
    flatten,
    on_meta,
    stack,
)
from helpers.poses import (
    CHANNELS,
    CLASSES,
    KEYPOINTS,
    PAIRS,
    PLACES,
    instances_of,
    make_people,
    metas_of,
    random_output,
)
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import MODELS
from reference.detection import STRIDE
from reference.heatmap import mean_focal_slowly
from reference.pose import decode_slowly, dense_slowly, sample_slowly, warp_by_points

from mmdet_centernet.datasets.transforms import CenterAffine
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterNetPoseHead, center_head

pytestmark = pytest.mark.usefixtures('mmdet_scope')
HEIGHT, WIDTH = 13, 18
FOCAL = dict(type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4)
#: Loss of a masked cell, whose probability is clamped like any other; it has no gradient.
MASKED = -math.log(1 - 1e-4) * 1e-4**2
WEIGHTS = dict(heatmap=1, wh=0.1, offset=1, keypoint_displacement=1, keypoint_heatmap=1,
               keypoint_offset=1)


def make_head(dense=False, **options):
    torch.manual_seed(0)
    return CenterNetPoseHead(**{**dict(
        num_classes=CLASSES, num_keypoints=KEYPOINTS, in_channels=8, feat_channels=8,
        coder=dict(type='mmdet_centernet.CenterCoder', stride=STRIDE), dense_displacement=dense,
        loss_center_heatmap=FOCAL, loss_keypoint_heatmap=FOCAL), **options})


def make_scenes(*counts, seed=0):
    rng = np.random.default_rng(seed)
    return [make_people(rng, STRIDE * WIDTH, STRIDE * HEIGHT, count) for count in counts]


def make_outputs(batch, seed=1, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    return stack([random_output(rng, HEIGHT, WIDTH) for _ in range(batch)], dtype=dtype)


def entries(targets, image, width):
    """Return objects, displacements and keypoints of an image as the reference has them."""
    def position(cell):
        return int(cell) % width, int(cell) // width

    centers, displacement, offset = (
        targets.centers, targets.keypoint_displacement, targets.keypoint_offset)
    assert torch.equal(offset.images.view(-1, KEYPOINTS)[:, 0], centers.images)
    for target in (targets.wh, targets.offset, displacement):
        assert torch.equal(target.images, centers.images)
        assert torch.equal(target.cells, centers.cells)
    objects, displacements, keypoints = [], [], []
    for n in (centers.images == image).nonzero().flatten().tolist():
        center = position(centers.cells[n])
        assert targets.wh.weight[n] == targets.offset.weight[n]
        if targets.wh.weight[n]:
            objects.append((int(centers.labels[n]), center, targets.wh.values[n].tolist(),
                            targets.offset.values[n].tolist()))
        for k in range(KEYPOINTS):
            if displacement.weight[n, k]:
                displacements.append((center, k, displacement.values[n, k].tolist()))
            if offset.weight[n * KEYPOINTS + k]:
                keypoints.append((k, position(offset.cells[n * KEYPOINTS + k]),
                                  offset.values[n * KEYPOINTS + k].tolist()))
    return objects, displacements, keypoints


def assert_targets(targets, image, expected, width):
    """Check the targets of an image; those of a rotated one have no center heatmap."""
    keypoint_heatmap = targets.keypoint_heatmap.heatmap.to_dense()[image].double().numpy()
    np.testing.assert_allclose(keypoint_heatmap, expected.keypoint_heatmap, atol=1e-5)
    assert targets.keypoint_heatmap.ignored is None
    heatmap = targets.heatmap.heatmap.to_dense()[image].double().numpy()
    ignored = False if targets.heatmap.ignored is None else bool(
        targets.heatmap.ignored[image].all())
    assert ignored == (expected.heatmap is None)
    if ignored:
        assert not heatmap.any()
    else:
        np.testing.assert_allclose(heatmap, expected.heatmap, atol=1e-5)
    found = entries(targets, image, width)
    for part, wanted in zip(found, (
            expected.objects, expected.displacements, expected.keypoints)):
        assert len(part) == len(wanted)
        for one, other in zip(part, wanted):
            assert flatten(one) == pytest.approx(flatten(other), abs=2e-4)


def test_targets_equal_the_originals(monkeypatch):
    """50 scenes through our transform and head, cropped, scaled, flipped and rotated."""
    side, size = 96, 24
    rng = np.random.default_rng(0)
    transform = CenterAffine(crop_size=(side, side), rotate_prob=1, rotate=40, flip_prob=0.5)
    batches, seen = [], dict(flipped=0, rotated=0, objects=0, keypoints=0)
    for scene in range(50):
        width, height = (int(v) for v in rng.integers(60, 200, 2))
        people = make_people(rng, width, height, int(rng.integers(0, 6)))
        scale, flipped = rng.uniform(0.6, 1.4), scene % 3 == 0
        angle = rng.normal() * 40 if scene % 4 == 1 else 0.0
        center = rng.uniform(0.3, 0.7, 2) * (width, height)
        drawn = tuple(center), scale, flipped
        monkeypatch.setattr(transform, '_draw', lambda *_, drawn=drawn: drawn)
        monkeypatch.setattr(transform, '_draw_angle', lambda angle=angle: angle)
        given, = instances_of([people])
        results = transform(dict(
            img=np.zeros((height, width, 3), np.uint8), gt_bboxes=HorizontalBoxes(given.bboxes),
            gt_bboxes_labels=given.labels.numpy(), gt_ignore_flags=np.zeros(len(given), bool),
            gt_keypoints=given.keypoints.numpy(),
            gt_keypoints_visible=given.keypoints_visible.numpy(), flip_indices=PLACES))
        shown = (width - 1 - center[0], center[1]) if flipped else center
        long_side = max(width, height) * scale
        matrices = [warp_by_points(shown, long_side, rotation, size) for rotation in (0, angle)]
        expected = sample_slowly(people, (CLASSES, KEYPOINTS, size, size), *matrices,
                                 (width, PLACES) if flipped else None)
        batches.append((results, expected))
        seen['flipped'] += flipped
        seen['rotated'] += expected.heatmap is None
        seen['objects'] += len(expected.objects)
        seen['keypoints'] += len(expected.keypoints)
    assert all(count >= 10 for count in seen.values()), seen
    samples = [results for results, _ in batches]
    rotated = [bool(results['homography_matrix'][0, 1]) for results in samples]
    targets = encode(
        make_head(),
        [type(given)(
            bboxes=results['gt_bboxes'].tensor,
            labels=torch.from_numpy(results['gt_bboxes_labels']),
            keypoints=torch.from_numpy(results['gt_keypoints']),
            keypoints_visible=torch.from_numpy(results['gt_keypoints_visible']))
         for results in samples],
        (len(samples), CLASSES, size, size),
        [dict(homography_matrix=results['homography_matrix']) for results in samples])
    for image, (_, expected) in enumerate(batches):
        assert rotated[image] == (expected.heatmap is None)
        assert_targets(targets, image, expected, size)


def test_targets_on_maps_that_are_not_squares_equal_loop():
    rng = np.random.default_rng(1)
    for height, width in ((9, 17), (22, 8)):
        scenes = [make_people(rng, STRIDE * width, STRIDE * height, count)
                  for count in (6, 0, 1, 3)]
        targets = encode(make_head(), instances_of(scenes), (4, CLASSES, height, width))
        assert targets.heatmap.ignored is None
        for image, people in enumerate(scenes):
            expected = sample_slowly(
                people, (CLASSES, KEYPOINTS, height, width), CELLS, CELLS)
            assert_targets(targets, image, expected, width)


def losses_slowly(outputs, scenes, rotated, dense=False):
    """Return losses by branch: sums over people, keypoints and cells, over the original's
    divisors."""
    shape = (CLASSES, KEYPOINTS, HEIGHT, WIDTH)
    samples = [sample_slowly(people, shape, CELLS, CELLS + each * 1e-12)
               for people, each in zip(scenes, rotated)]
    values = {name: value.double().numpy() for name, value in outputs.items()}
    upright = [image for image, each in enumerate(rotated) if not each]
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
        for _, (x, y), offset in sample.keypoints:
            add('keypoint_offset', image, x, y, offset)
        if dense and not rotated[image]:
            cells = dense_slowly(people, (HEIGHT, WIDTH), KEYPOINTS)
            for (k, y, x), (weight, wanted) in cells.items():
                add('keypoint_displacement', image, x, y, wanted, 2 * k, weight)
        elif not dense:
            for (x, y), k, wanted in sample.displacements:
                add('keypoint_displacement', image, x, y, wanted, 2 * k)
    losses = {name: sums[name] / (counts[name] + 1e-4) for name in CHANNELS if sums[name]}
    losses['heatmap'] = mean_focal_slowly(
        outputs['heatmap'][upright],
        np.stack([samples[image].heatmap for image in upright])) if upright else 0
    if not upright:  # otherwise too little to be seen
        losses['heatmap'] = MASKED * outputs['heatmap'].numel()
    losses['keypoint_heatmap'] = mean_focal_slowly(
        outputs['keypoint_heatmap'], np.stack([sample.keypoint_heatmap for sample in samples]))
    return {name: WEIGHTS[name] * losses.get(name, 0) for name in CHANNELS}


@pytest.mark.parametrize('dense', [False, True], ids=['centers', 'dense'])
@pytest.mark.parametrize('counts, rotated', [
    ((7, 0, 4), (0, 0, 0)), ((5, 6, 4), (0, 1, 0)), ((3, 5), (1, 1)), ((0, 0), (0, 0)),
    ((0, 0), (0, 1))], ids=str)
def test_losses_equal_the_originals(counts, rotated, dense):
    scenes, outputs = make_scenes(*counts), make_outputs(len(counts))
    losses = make_head(dense).loss_by_feat(
        [outputs], instances_of(scenes), metas_of(rotated))
    expected = losses_slowly(outputs, scenes, rotated, dense)
    assert set(losses) == {'loss_center_heatmap'} | {
        f'loss_{name}' for name in CHANNELS if name != 'heatmap'}
    losses['loss_heatmap'] = losses.pop('loss_center_heatmap')
    for name, value in expected.items():
        assert losses[f'loss_{name}'].item() == pytest.approx(float(value), rel=1e-5), name


def test_losses_of_a_rotated_image_reach_keypoint_heatmap_and_offset_alone():
    """Its center heatmap costs nothing and has no gradient, whatever the network predicts."""
    outputs = {name: value.requires_grad_() for name, value in make_outputs(2).items()}
    for dense in (False, True):
        losses = make_head(dense).loss_by_feat(
            [outputs], instances_of(make_scenes(5, 6)), metas_of((0, 1)))
        for value in outputs.values():
            value.grad = None
        sum(losses.values()).backward()
        for name, value in outputs.items():
            upright, rotated = value.grad.flatten(1).any(dim=1).tolist()
            assert upright, name
            assert rotated == (name in ('keypoint_heatmap', 'keypoint_offset')), name


def test_losses_of_stacks_add_up():
    scenes, outputs = make_scenes(4, 2), [make_outputs(2, seed) for seed in (1, 2)]
    head = make_head(num_stacks=2)
    both = head.loss_by_feat(outputs, instances_of(scenes), metas_of((0, 0)))
    each = [head.loss_by_feat([output], instances_of(scenes), metas_of((0, 0)))
            for output in outputs]
    for name, value in both.items():
        assert value.item() == pytest.approx(float(each[0][name] + each[1][name]))


@pytest.mark.parametrize('dense', [False, True], ids=['centers', 'dense'])
def test_losses_of_halves_of_a_batch_average_to_the_whole(dense, monkeypatch):
    """Two processes with an image each, one of them empty, as one process with both."""
    head, scenes, outputs = make_head(dense), make_scenes(4, 0), make_outputs(2)
    whole = head.loss_by_feat([outputs], instances_of(scenes), metas_of((0, 0)))

    def half(image):
        return head.loss_by_feat(
            [{name: value[image:image + 1] for name, value in outputs.items()}],
            instances_of(scenes[image:image + 1]), metas_of((0, )))

    counts = []
    monkeypatch.setattr(center_head, 'reduce_mean', lambda value: counts.append(value) or value)
    half(0), half(1)
    assert len(counts) == 2  # one message for each process
    monkeypatch.setattr(center_head, 'reduce_mean', lambda _: (counts[0] + counts[1]) / 2)
    monkeypatch.setattr(center_head, 'get_world_size', lambda: 2)
    halves = [half(0), half(1)]
    for name, value in whole.items():
        mean = (halves[0][name] + halves[1][name]) / 2
        # The 1e-4 of the divisors counts once for each process.
        assert float(mean) == pytest.approx(float(value), rel=1e-4), name


def test_losses_of_images_without_a_matrix_are_those_of_upright_ones():
    scenes, outputs = make_scenes(4, 2), make_outputs(2)
    head = make_head()
    for first, second in zip(*(head.loss_by_feat([outputs], instances_of(scenes), metas).values()
                               for metas in ([{}, {}], metas_of((0, 0))))):
        assert torch.equal(first, second)


OPTIONS = {
    (): {}, ('wh', ): dict(with_wh=False), ('offset', ): dict(with_offset=False),
    ('keypoint_offset', ): dict(with_keypoint_offset=False),
    ('keypoint_heatmap', 'keypoint_offset'): dict(with_keypoint_heatmap=False)}


def test_branches_have_the_order_of_checkpoints():
    """An optimizer's state in a checkpoint goes by the order of the parameters."""
    head = make_head(num_stacks=2)
    order = ['heatmap', 'keypoint_displacement', 'wh', 'offset', 'keypoint_heatmap',
             'keypoint_offset']
    for stack_ in head.stacks:
        assert list(stack_) == order
    assert [name for name, _ in head.named_parameters()] == [
        f'stacks.{number}.{branch}.{layer}.{kind}' for number in range(2) for branch in order
        for layer in (0, 2) for kind in ('weight', 'bias')]


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


def test_every_parameter_gets_a_gradient():
    """With each option, with and without people, upright and rotated."""
    for options in (*OPTIONS.values(), dict(dense=True)):
        head = make_head(**options)
        head.init_weights()
        for counts, rotated in (
                ((0, 0), (0, 0)), ((3, 0), (0, 0)), ((3, 2), (1, 1)), ((0, 0), (1, 1))):
            losses = head.loss_by_feat(head([torch.randn(2, 8, HEIGHT, WIDTH)])[0],
                                       instances_of(make_scenes(*counts)), metas_of(rotated))
            assert_all_get_gradients(head, losses, (options, counts, rotated))


def test_init_weights():
    head = make_head()
    head.init_weights()
    for name, branch in head.stacks[0].items():
        wanted = -math.log(9) if name in ('heatmap', 'keypoint_heatmap') else 0
        assert branch[-1].bias.tolist() == pytest.approx([wanted] * CHANNELS[name]), name


def test_nothing_is_read_back_from_the_device():
    """The meta device has no values to read."""
    with torch.device('meta'):
        head = make_head(dense=True)
    instances = on_meta(instances_of(make_scenes(4, 2)))
    outputs = {name: torch.empty(2, count, HEIGHT, WIDTH, device='meta', requires_grad=True)
               for name, count in CHANNELS.items()}
    for rotated in ((0, 0), (1, 0)):
        losses = head.loss_by_feat([outputs], instances, metas_of(rotated))
        sum(losses.values()).backward()
    assert head.decode(outputs)['keypoints'].is_meta


def test_predictions_equal_loop_through_the_way_back():
    """A flipped, scaled and shifted image, and one that was only scaled."""
    outputs = make_outputs(2, dtype=torch.float64)
    matrices = [np.array([[-0.5, 0, 60], [0, 0.5, -3], [0, 0, 1]]), np.diag([2.0, 2.0, 1])]
    found = make_head(test_cfg=dict(max_per_img=12)).predict_by_feat(
        [outputs], [dict(homography_matrix=matrix) for matrix in matrices])
    for image, (instances, matrix) in enumerate(zip(found, matrices)):
        expected = decode_slowly(as_probabilities(outputs, image), 12)
        assert len(instances) == len(expected) == 12
        assert instances.scores.tolist() == pytest.approx([entry[0] for entry in expected])
        assert instances.labels.tolist() == [entry[1] for entry in expected]
        for n, (_, _, box, keypoints) in enumerate(expected):
            wanted = [np.linalg.solve(matrix, (x, y, 1))[:2] for x, y, _ in keypoints]
            np.testing.assert_allclose(instances.keypoints[n], wanted, atol=1e-3)
            corners = [np.linalg.solve(matrix, (*box[i:i + 2], 1))[:2] for i in (0, 2)]
            # Left stays left in a flipped image, also of a box with a size below zero.
            center, half = np.mean(corners, axis=0), np.array(
                [box[2] - box[0], box[3] - box[1]]) / 2 / abs(matrix[0, 0])
            np.testing.assert_allclose(
                instances.bboxes[n], [*(center - half), *(center + half)], atol=1e-3)
            assert instances.keypoint_scores[n].tolist() == pytest.approx(
                [score for _, _, score in keypoints], abs=1e-6)


def test_nms_keeps_keypoints_with_their_boxes():
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


def test_output_heatmaps_on_request():
    outputs = make_outputs(2)
    samples = [DetDataSample(metainfo=meta) for meta in metas_of((0, 0))]
    make_head().predict_output(outputs, samples)
    assert 'pred_fields' not in samples[0]
    head = make_head(test_cfg=dict(output_heatmaps=True))
    head.predict_output(outputs, samples)
    for image, sample in enumerate(samples):
        assert torch.equal(
            sample.pred_fields.heatmaps, outputs['keypoint_heatmap'].sigmoid()[image])
        assert sample.pred_fields.stride == STRIDE
    head = make_head(with_keypoint_heatmap=False, test_cfg=dict(output_heatmaps=True))
    del outputs['keypoint_heatmap'], outputs['keypoint_offset']
    with pytest.raises(UserError, match='output_heatmaps'):
        head.predict_output(outputs, samples)


def test_merge_flipped_equals_loop():
    """Displacements of the flipped image point the other way, and left and right change."""
    head = make_head(flip_pairs=PAIRS)
    output = make_outputs(4)
    merged = head.merge_flipped(output)
    assert merged.keys() == output.keys()
    for name, value in merged.items():
        assert value.shape == (2, CHANNELS[name], HEIGHT, WIDTH)
        for image in range(2):
            plain, flipped = output[name][image], output[name][2 + image]
            for channel in range(CHANNELS[name]):
                for x in range(WIDTH):
                    ours, theirs = plain[channel, :, x], flipped[channel, :, WIDTH - 1 - x]
                    if name == 'keypoint_displacement':
                        keypoint, axis = divmod(channel, 2)
                        theirs = flipped[2 * PLACES[keypoint] + axis, :, WIDTH - 1 - x]
                        theirs = -theirs if axis == 0 else theirs
                    if name == 'keypoint_heatmap':
                        theirs = flipped[PLACES[channel], :, WIDTH - 1 - x]
                    if 'heatmap' in name:
                        wanted = (ours.sigmoid() + theirs.sigmoid()) / 2
                        assert torch.allclose(value[image, channel, :, x].sigmoid(), wanted)
                    elif 'offset' in name:
                        assert torch.equal(value[image, channel, :, x], ours)
                    else:
                        assert torch.allclose(
                            value[image, channel, :, x], (ours + theirs) / 2, atol=1e-6)


def test_merge_flipped_needs_the_pairs():
    with pytest.raises(UserError, match='flip_pairs'):
        make_head().merge_flipped(make_outputs(2))
    head = make_head(flip_pairs=[])  # a skeleton without left and right
    assert head.merge_flipped(make_outputs(2))['wh'].shape[0] == 1


@pytest.mark.parametrize('options, words', [
    (dict(flip_pairs=[(1, 5)]), 'flip_pairs'), (dict(snap_score=-1), 'snap_score'),
    (dict(snap_distance=-0.1), 'snap_distance'), (dict(coder=dict(radius='mmdet')), 'radius'),
    (dict(coder=dict(stride=0)), 'stride')], ids=str)
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        make_head(**options)


def test_annotations_that_do_not_fit_end_in_one_message():
    head, outputs = make_head(), make_outputs(1)
    people = instances_of(make_scenes(2))
    people[0].keypoints = people[0].keypoints[:, :4]
    with pytest.raises(UserError, match=r'made.png has keypoints of shape \(2, 4, 2\)'):
        head.loss_by_feat([outputs], people, [dict(img_path='made.png')])
    del people[0].keypoints
    with pytest.raises(UserError, match='made.png comes without keypoints.*CocoPoseDataset'):
        head.loss_by_feat([outputs], people, [dict(img_path='made.png')])


def test_defaults_are_those_of_coco():
    head = MODELS.build(dict(type='mmdet_centernet.CenterNetPoseHead'))
    output, = head([torch.zeros(1, 64, 4, 4)])[0]
    assert {name: value.shape[1] for name, value in output.items()} == dict(
        heatmap=1, wh=2, offset=2, keypoint_displacement=34, keypoint_heatmap=17,
        keypoint_offset=2)
    assert head.losses['wh'].loss_weight == 0.1
    coder = head.coder
    assert (coder.radius, coder.min_overlap, coder.shared_cells) == ('official', 0.7, 'all')
    assert not coder.trust_rotated_boxes
