"""The 3D head: targets, losses and gradients against the original's, predictions, flips."""
import math

import numpy as np
import pytest
import torch
from helpers.boxes_3d import (
    CAMERA,
    CELLS,
    CHANNELS,
    CLASSES,
    arguments,
    box_at,
    make_camera,
    make_object,
    make_scene,
    random_output,
    scattered,
    tensors,
)
from helpers.heads import (
    as_probabilities,
    assert_all_get_gradients,
    encode,
    flatten,
    on_meta,
    perfect_outputs,
    stack,
)
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from reference.camera import angle_between, wrap_slowly
from reference.detection import STRIDE
from reference.heatmap import mean_focal_slowly
from reference.mono3d import IGNORED, decode_slowly, sample_slowly
from torch.nn import functional as F

from mmdet_centernet.datasets.transforms import CenterAffine3D, PackMono3DInputs
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterNetMono3DHead, center_head
from mmdet_centernet.models.test_time_augs import CenterNetTTAModel

pytestmark = pytest.mark.usefixtures('mmdet_scope')
HEIGHT, WIDTH = 13, 18
SLOTS = 50
FOCAL = dict(type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4)
WEIGHTS = dict(heatmap=1, depth=1, orientation=1, dims=1, wh=0.1, offset=1, location_offset=1)


def make_head(ignore='center', **options):
    torch.manual_seed(0)
    return CenterNetMono3DHead(**{**dict(
        num_classes=CLASSES, in_channels=8, feat_channels=8, with_location_offset=True,
        coder=dict(type='mmdet_centernet.CenterCoder', ignore=ignore),
        loss_center_heatmap=FOCAL), **options})


def make_scenes(*counts, seed=0):
    rng = np.random.default_rng(seed)
    return [make_scene(rng, STRIDE * WIDTH, STRIDE * HEIGHT, count) for count in counts]


def make_outputs(batch, seed=1):
    rng = np.random.default_rng(seed)
    return stack([random_output(rng, HEIGHT, WIDTH) for _ in range(batch)])


def encode_scenes(head, scenes, shape, augmented=None):
    instances, metas, ignored = arguments(scenes, augmented)
    return encode(head, instances, shape, metas, ignored)


def entries(targets, image, width):
    """Return the objects of an image that are trained as the reference has them."""
    centers, names = targets.centers, ('wh', 'offset', 'depth', 'dims', 'location_offset')
    for name in (*names, 'orientation'):
        assert torch.equal(getattr(targets, name).images, centers.images)
        assert torch.equal(getattr(targets, name).cells, centers.cells)
    found = []
    for n in (centers.images == image).nonzero().flatten().tolist():
        weights = {name: float(getattr(targets, name).weight[n]) for name in names}
        assert weights['wh'] == weights['offset'] == weights['location_offset']
        assert weights['depth'] == weights['dims']
        assert targets.orientation.weight[n, 0] == weights['wh']
        if not weights['wh']:
            assert weights['depth'] == 0
            continue
        cell = int(centers.cells[n])
        wh, offset, depth, dims, location_offset = (
            getattr(targets, name).values[n].tolist() for name in names)
        bins = targets.orientation.values[n]
        assert torch.equal(targets.orientation.weight[n, 1:], bins[:, 0])
        assert set(bins[:, 0].tolist()) <= {0, 1}
        found.append((int(centers.labels[n]), (cell % width, cell // width), wh, offset, depth,
                      dims, (bins[:, 0] == 1).tolist(), bins[:, 1:].tolist(), location_offset,
                      weights['depth']))
    return found


def assert_targets(targets, image, expected, width):
    """Check the targets of an image; where it is ignored they are masked, and 0."""
    heatmap = targets.heatmap.heatmap.to_dense()[image].double().numpy()
    ignored = expected.heatmap == IGNORED
    if targets.heatmap.ignored is None:
        assert not ignored.any()
    else:
        assert np.array_equal(targets.heatmap.ignored[image].numpy(), ignored)
    np.testing.assert_allclose(heatmap[~ignored], expected.heatmap[~ignored], atol=1e-5)
    assert not heatmap[ignored].any()
    found = entries(targets, image, width)
    assert len(found) == len(expected.entries)
    for one, other in zip(found, expected.entries):
        assert flatten(one) == pytest.approx(flatten(other), abs=1e-3, rel=1e-5)


@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_targets_equal_the_originals(ignore):
    """50 scenes through our transform and head, half of them scaled and shifted at random, of
    images of different sizes."""
    out_width, out_height = 208, 64
    width, height = out_width // STRIDE, out_height // STRIDE
    rng = np.random.default_rng(1)
    transform = CenterAffine3D(size=(out_width, out_height), aug_prob=0.5)
    pack, samples, references = PackMono3DInputs(), [], []
    seen = dict(augmented=0, plain=0, objects=0, ignored=0)
    np.random.seed(2)
    for _ in range(50):
        image_width, image_height = int(rng.integers(150, 400)), int(rng.integers(60, 120))
        camera, objects = make_scene(rng, image_width, image_height, int(rng.integers(0, 9)))
        boxes, labels, boxes_3d, alphas, ignored_boxes, ignored_labels = tensors(objects)
        state = np.random.get_state()
        # The original's draws: augmented or not, then the scale, then the shift in x and y.
        augmented, scale, shift = np.random.random() < 0.5, 1.0, np.zeros(2)
        if augmented:
            scale = np.clip(np.random.randn() * 0.4 + 1, 0.6, 1.4)
            shift = np.array([side * np.clip(np.random.randn() * 0.1, -0.2, 0.2)
                              for side in (image_width, image_height)])
        np.random.set_state(state)
        zoom = width / (image_width * scale)
        middle = np.array([image_width, image_height]) / 2 + shift
        matrix = np.array([[zoom, 0, width / 2 - zoom * middle[0]],
                           [0, zoom, height / 2 - zoom * middle[1]]])
        count = len(labels)
        packed = pack(transform(dict(
            img=np.zeros((image_height, image_width, 3), np.uint8), cam2img=camera,
            ori_shape=(image_height, image_width), img_id='7', img_path='made.png',
            gt_bboxes=HorizontalBoxes(torch.cat((boxes, ignored_boxes))),
            gt_bboxes_labels=torch.cat((labels, ignored_labels)).numpy(),
            gt_bboxes_3d=torch.cat((boxes_3d, torch.ones(len(ignored_labels), 7))).numpy(),
            gt_alpha=torch.cat((alphas, torch.zeros(len(ignored_labels)))).numpy(),
            gt_ignore_flags=np.arange(count + len(ignored_labels)) >= count)))
        sample = packed['data_samples']
        assert bool(sample.augmented) == augmented
        samples.append(sample)
        references.append(sample_slowly(
            objects, (CLASSES, height, width), matrix, camera, ignore == 'region', augmented))
        seen['augmented' if augmented else 'plain'] += 1
        seen['objects'] += len(references[-1].entries)
        seen['ignored'] += len(sample.ignored_instances)
    assert all(number >= 15 for number in seen.values()), seen

    def plain_boxes(instances):
        return InstanceData(**dict(instances.items(), bboxes=instances.bboxes.tensor))

    targets = encode(
        make_head(ignore), [plain_boxes(sample.gt_instances) for sample in samples],
        (len(samples), CLASSES, height, width), [sample.metainfo for sample in samples],
        [plain_boxes(sample.ignored_instances) for sample in samples])
    for image, expected in enumerate(references):
        assert_targets(targets, image, expected, width)


@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_targets_of_crowded_maps_equal_loop(ignore):
    """Wide and high, with objects that cover and hide each other."""
    rng = np.random.default_rng(3)
    for height, width in ((9, 27), (22, 8)):
        shape = (4, CLASSES, height, width)
        scenes = [make_scene(rng, STRIDE * width, STRIDE * height, count)
                  for count in (25, 0, 1, 8)]
        augmented = [True, False, False, False]
        targets = encode_scenes(make_head(ignore), scenes, shape, augmented)
        for image, (camera, objects) in enumerate(scenes):
            assert_targets(targets, image, sample_slowly(
                objects, shape[1:], CELLS, camera, ignore == 'region', augmented[image]), width)


def losses_slowly(outputs, scenes, augmented, normalizer='slots', region=False):
    """Return losses by branch, of leaves in float64: the original's formulas, slot by slot.

    With 'slots' the cross-entropy has the original's terms of ln 2 for each empty slot and bin.
    The original writes 0.9999 where we mask, which costs less than 1e-15 a cell.
    """
    shape = CLASSES, HEIGHT, WIDTH
    samples = [sample_slowly(objects, shape, CELLS, camera, region, moved)
               for (camera, objects), moved in zip(scenes, augmented)]
    target = np.stack([sample.heatmap for sample in samples])
    losses = dict(heatmap=mean_focal_slowly(outputs['heatmap'], target))
    objects = metric = 0
    sums = dict.fromkeys(('depth', 'dims', 'wh', 'offset', 'location_offset'), 0.0)
    entropy = 0.0
    residuals = [], []
    for image, sample in enumerate(samples):
        for slot in range(max(SLOTS, len(sample.entries))):
            if slot >= len(sample.entries):
                entropy = entropy + 2 * math.log(2)  # of two logits that a mask has made 0
                continue
            label, (x, y), wh, offset, depth, dims, inside, sin_cos, seen, trained = (
                sample.entries[slot])
            at = {name: values[image, :, y, x] for name, values in outputs.items()}
            objects, metric = objects + 1, metric + trained
            wanted = dict(depth=[depth], dims=dims, wh=wh, offset=offset, location_offset=seen)
            at['depth'] = 1 / at['depth'].sigmoid() - 1
            for name, values in wanted.items():
                factor = trained if name in ('depth', 'dims') else 1
                for value, goal in zip(at[name], values):
                    sums[name] = sums[name] + factor * (value - goal).abs()
            for number in range(2):
                channels = at['orientation'][4 * number:4 * number + 4]
                entropy = entropy - channels[:2].log_softmax(dim=0)[int(inside[number])]
                if inside[number]:
                    residuals[number].append(sum(
                        F.smooth_l1_loss(channels[2 + i], channels.new_tensor(
                            sin_cos[number][i])) for i in range(2)))
    slots = SLOTS * len(scenes)
    for name, value in sums.items():
        number = metric if name in ('depth', 'dims') else objects
        losses[name] = value / (CHANNELS[name] * slots if normalizer == 'slots' else
                                CHANNELS[name] * number + 1e-4)
    if normalizer == 'slots':
        losses['orientation'] = entropy / slots
    else:
        empty = 2 * math.log(2) * sum(SLOTS - len(sample.entries) for sample in samples)
        losses['orientation'] = (entropy - empty) / (objects + 1e-4)
    for found in residuals:
        if found:
            losses['orientation'] = losses['orientation'] + sum(found) / len(found)
    return {name: WEIGHTS[name] * losses[name] for name in CHANNELS}, objects


@pytest.mark.parametrize('counts, augmented', [
    ((9, 0, 4), (0, 0, 0)), ((5, 6, 4), (0, 1, 0)), ((6, 5), (1, 1)), ((0, 0), (0, 0)),
    ((0, 0), (0, 1))], ids=str)
def test_losses_and_gradients_equal_the_originals(counts, augmented):
    """Whatever is ignored and averaged over."""
    scenes, outputs = make_scenes(*counts), make_outputs(len(counts))
    known, metas, ignored = arguments(scenes, augmented)
    for ignore in ('center', 'region'):
        for normalizer in ('slots', 'objects'):
            case = ignore, normalizer
            leaves = {name: value.clone().requires_grad_() for name, value in outputs.items()}
            exact = {name: value.double().requires_grad_() for name, value in outputs.items()}
            losses = make_head(ignore, normalizer=normalizer).loss_by_feat(
                [leaves], known, metas, ignored)
            expected, objects = losses_slowly(
                exact, scenes, augmented, normalizer, ignore == 'region')
            if normalizer == 'slots':
                slots = SLOTS * len(counts)
                expected['orientation'] = expected['orientation'] - (
                    2 * math.log(2) * (slots - objects) / slots)
            assert set(losses) == {'loss_center_heatmap'} | {
                f'loss_{name}' for name in CHANNELS if name != 'heatmap'}
            losses['loss_heatmap'] = losses.pop('loss_center_heatmap')
            for name, value in expected.items():
                assert losses[f'loss_{name}'].item() == pytest.approx(
                    float(torch.as_tensor(value).detach()), rel=1e-5, abs=1e-7), (case, name)
            sum(losses.values()).backward()
            torch.as_tensor(sum(expected.values())).backward()
            for name in CHANNELS:
                wanted = exact[name].grad
                if wanted is None:
                    wanted = torch.zeros_like(exact[name])
                torch.testing.assert_close(leaves[name].grad.double(), wanted, rtol=1e-4,
                                           atol=1e-8, msg=f'{case} {name}')


def test_losses_of_more_objects_than_slots():
    """All are trained, over the same divisor."""
    scenes = make_scenes(60)
    scenes = [(camera, [each for each in objects if not isinstance(each.type, str)] * 2)
              for camera, objects in scenes]
    outputs = make_outputs(1)
    known, metas, ignored = arguments(scenes)
    losses = make_head().loss_by_feat([outputs], known, metas, ignored)
    expected, objects = losses_slowly(
        {name: value.double() for name, value in outputs.items()}, scenes, [False])
    assert objects > SLOTS
    for name in ('depth', 'dims', 'wh', 'offset', 'orientation'):
        assert losses[f'loss_{name}'].item() == pytest.approx(float(expected[name]), rel=1e-5)
    half = make_head(max_objects=25).loss_by_feat([outputs], known, metas, ignored)
    assert float(half['loss_depth']) == pytest.approx(2 * float(losses['loss_depth']))


def test_losses_of_an_ignored_region_are_nothing():
    """Whatever the network predicts there; and its gradient is exactly zero."""
    known, metas, ignored = arguments([
        (CAMERA, [box_at(20, 20, 16, 12, 1), box_at(50, 30, 24, 20, 'DontCare')])])
    for focal in (FOCAL, dict(type='mmdet.GaussianFocalLoss')):
        head = make_head('region', loss_center_heatmap=focal)
        there = torch.zeros(1, CLASSES, HEIGHT, WIDTH, dtype=torch.bool)
        there[..., 5:11, 9:16] = True  # 20 to 40 px, and 38 to 62
        outputs = make_outputs(1)
        losses, grads = [], []
        for shift in (0, 8, -5):
            shifted = dict(outputs, heatmap=torch.where(
                there, outputs['heatmap'] + shift, outputs['heatmap']).requires_grad_())
            loss = head.loss_by_feat([shifted], known, metas, ignored)['loss_center_heatmap']
            loss.backward()
            losses.append(loss.item())
            grads.append(shifted['heatmap'].grad)
        assert losses[0] == losses[1] == losses[2]
        assert all(torch.equal(grad, grads[0]) for grad in grads)
        assert not grads[0][there].any() and grads[0][~there].all()
        without = head.loss_by_feat([outputs], known, metas, None)['loss_center_heatmap']
        assert without.item() > losses[0]


def test_losses_of_an_ignored_center_are_nothing():
    known, metas, ignored = arguments([(CAMERA, [box_at(50, 30, 24, 20, 'Van')])])
    outputs, grads, losses = make_outputs(1), [], []
    for shift in (0, 8, -5):
        logits = outputs['heatmap'].clone()
        logits[0, 1, 7, 12] += shift
        logits.requires_grad_()
        loss = make_head().loss_by_feat(
            [dict(outputs, heatmap=logits)], known, metas, ignored)['loss_center_heatmap']
        loss.backward()
        losses.append(loss.item())
        grads.append(logits.grad)
    assert losses[0] == losses[1] == losses[2]
    for grad in grads:
        assert grad[0, 1, 7, 12] == 0
        assert grad[0, 0, 7, 12] > 1e-4  # of another class


def test_losses_of_augmented_samples_do_not_train_depth():
    scenes, outputs = make_scenes(9, 7), make_outputs(2)
    leaves = {name: value.requires_grad_() for name, value in outputs.items()}
    known, metas, ignored = arguments(scenes, (1, 0))
    sum(make_head().loss_by_feat([leaves], known, metas, ignored).values()).backward()
    for name, value in leaves.items():
        first, second = value.grad.flatten(1).any(dim=1).tolist()
        assert second and first == (name not in ('depth', 'dims')), name


def test_losses_of_stacks_add_up():
    given, outputs = arguments(make_scenes(4, 2)), [make_outputs(2, seed) for seed in (1, 2)]
    head = make_head(num_stacks=2)
    both = head.loss_by_feat(outputs, *given)
    each = [head.loss_by_feat([output], *given) for output in outputs]
    for name, value in both.items():
        assert value.item() == pytest.approx(float(each[0][name] + each[1][name]))


@pytest.mark.parametrize('normalizer', ['slots', 'objects'])
@pytest.mark.parametrize('counts', [(9, 0), (9, 4)], ids=str)
def test_losses_of_halves_of_a_batch_average_to_the_whole(normalizer, counts, monkeypatch):
    """Two processes with an image each, one of them empty, as one process with both."""
    head, scenes, outputs = make_head(normalizer=normalizer), make_scenes(*counts), make_outputs(2)
    known, metas, ignored = arguments(scenes, (0, 0))
    whole = head.loss_by_feat([outputs], known, metas, ignored)

    def half(image):
        part = slice(image, image + 1)
        return head.loss_by_feat([{name: value[part] for name, value in outputs.items()}],
                                 known[part], metas[part], ignored[part])

    messages = []
    monkeypatch.setattr(center_head, 'reduce_mean', lambda value: messages.append(value) or value)
    half(0), half(1)
    assert len(messages) == 2  # one for each process
    monkeypatch.setattr(center_head, 'reduce_mean', lambda _: (messages[0] + messages[1]) / 2)
    monkeypatch.setattr(center_head, 'get_world_size', lambda: 2)
    halves = [half(0), half(1)]
    for name, value in whole.items():
        mean = (halves[0][name] + halves[1][name]) / 2
        # The 1e-4 of the divisors counts once for each process.
        assert float(mean) == pytest.approx(float(value), rel=1e-4), name


OPTIONS = {
    (): {}, ('wh', ): dict(with_wh=False), ('offset', ): dict(with_offset=False),
    ('location_offset', ): dict(with_location_offset=False),
    ('wh', 'offset', 'location_offset'): dict(
        with_wh=False, with_offset=False, with_location_offset=False)}


@pytest.mark.parametrize('left_out', OPTIONS, ids=str)
def test_branches_can_be_left_out(left_out):
    """Neither parameters nor losses are there; the other losses stay the same."""
    head = make_head(**OPTIONS[left_out])
    output = head([torch.randn(2, 8, HEIGHT, WIDTH)])[0][0]
    assert {name: value.shape[1] for name, value in output.items()} == {
        name: count for name, count in CHANNELS.items() if name not in left_out}
    outputs, given = make_outputs(2), arguments(make_scenes(5, 2))
    kept = {name: value for name, value in outputs.items() if name not in left_out}
    losses = head.loss_by_feat([kept], *given)
    everything = make_head().loss_by_feat([outputs], *given)
    assert set(losses) == set(everything) - {f'loss_{name}' for name in left_out}
    for name, value in losses.items():
        assert torch.equal(value, everything[name])
    for instances in head.predict_by_feat([kept], given[1]):
        assert len(instances) and torch.isfinite(instances.bboxes_3d).all()


def test_every_parameter_gets_a_gradient():
    """With each option, with and without objects, augmented or not."""
    for options in OPTIONS.values():
        for normalizer in ('slots', 'objects'):
            head = make_head(normalizer=normalizer, **options)
            head.init_weights()
            for counts, augmented in (((0, 0), (0, 0)), ((5, 0), (0, 0)), ((5, 3), (1, 1)),
                                      ((0, 0), (1, 1))):
                losses = head.loss_by_feat(head([torch.randn(2, 8, HEIGHT, WIDTH)])[0],
                                           *arguments(make_scenes(*counts), augmented))
                assert_all_get_gradients(head, losses, (options, normalizer, counts, augmented))


def test_init_weights():
    head = make_head()
    head.init_weights()
    for name, branch in head.stacks[0].items():
        wanted = -math.log(9) if name == 'heatmap' else 0
        assert branch[-1].bias.tolist() == pytest.approx([wanted] * CHANNELS[name]), name


def test_nothing_is_read_back_from_the_device():
    """The meta device has no values to read."""
    known, metas, ignored = arguments(make_scenes(9, 4), (1, 0))
    known, ignored = on_meta(known), on_meta(ignored)
    for ignore in ('center', 'region'):
        for normalizer in ('slots', 'objects'):
            with torch.device('meta'):
                head = make_head(ignore, normalizer=normalizer)
            outputs = {
                name: torch.empty(2, count, HEIGHT, WIDTH, device='meta', requires_grad=True)
                for name, count in CHANNELS.items()}
            losses = head.loss_by_feat([outputs], known, metas, ignored)
            sum(losses.values()).backward()
            cameras = dict(cam2img=torch.empty(2, 3, 4, device='meta'))
            assert head.decode(outputs, cameras)['bboxes_3d'].is_meta
    with torch.device('meta'):
        head = make_head(with_wh=False)
    del outputs['wh']
    assert head.decode(outputs, cameras)['bboxes'].is_meta


def test_heatmap_loss_of_mmdet_gives_the_same():
    """It takes probabilities and a dense target; it has other bounds, not other formulas."""
    given, outputs = arguments(make_scenes(9, 4)), make_outputs(2)
    for ignore in ('center', 'region'):
        ours, theirs = (make_head(ignore, loss_center_heatmap=dict(type=kind)).loss_by_feat(
            [outputs], *given) for kind in (
                'mmdet_centernet.GaussianFocalLoss', 'mmdet.GaussianFocalLoss'))
        for name, value in ours.items():
            assert float(theirs[name]) == pytest.approx(float(value), rel=1e-4), (ignore, name)


def test_half_precision_outputs():
    given, outputs = arguments(make_scenes(9, 4)), make_outputs(2)
    for dtype, tolerance in ((torch.float16, 2e-2), (torch.bfloat16, 1e-1)):
        for ignore in ('center', 'region'):
            head = make_head(ignore)
            losses = head.loss_by_feat([outputs], *given)
            half = {name: value.to(dtype) for name, value in outputs.items()}
            for name, value in head.loss_by_feat([half], *given).items():
                assert float(value) == pytest.approx(float(losses[name]), rel=tolerance), name
            found = head.predict_by_feat([half], given[1])
            assert found[0].bboxes_3d.dtype == torch.float32


def test_losses_of_samples_without_ignored_instances():
    """Those of another pipeline do not have any."""
    known, metas, _ = arguments(make_scenes(4, 2))
    outputs = make_outputs(2)
    first, second = (make_head().loss_by_feat([outputs], known, metas, ignored)
                     for ignored in (None, [None, None]))
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_annotations_that_do_not_fit_end_in_one_message():
    known, metas, ignored = arguments(make_scenes(4), img_path='made.png')
    head, outputs = make_head(), make_outputs(1)
    for missing in ('bboxes_3d', 'alpha'):
        plain = InstanceData(
            **{name: value for name, value in known[0].items() if name != missing})
        with pytest.raises(UserError, match=f'made.png comes without {missing}: .*LoadBoxes3D'):
            head.loss_by_feat([outputs], [plain], metas, ignored)
    for meta in (dict(img_path='made.png'), dict(img_path='made.png', cam2img=None)):
        with pytest.raises(UserError, match='made.png comes without cam2img') as error:
            head.loss_by_feat([outputs], known, [meta], ignored)
        assert '\n' not in str(error.value)
        with pytest.raises(UserError, match='made.png comes without cam2img'):
            head.predict_by_feat([outputs], [dict(meta, homography_matrix=np.eye(3))])


@pytest.mark.parametrize('options, words', [
    (dict(normalizer='images'), 'normalizer'), (dict(max_objects=0), 'max_objects'),
    (dict(coder=dict(ignore='box')), 'ignore'), (dict(coder=dict(radius='mmdet')), 'radius'),
    (dict(coder=dict(stride=0)), 'stride')], ids=str)
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        make_head(**options)


def test_defaults_are_those_of_kitti():
    head = MODELS.build(dict(type='mmdet_centernet.CenterNetMono3DHead'))
    output, = head([torch.zeros(1, 64, 4, 4)])[0]
    assert {name: value.shape[1] for name, value in output.items()} == {
        name: count for name, count in CHANNELS.items() if name != 'location_offset'}
    assert head.losses['wh'].loss_weight == 0.1
    assert head.coder.ignore == 'center' and head.coder.shared_cells == 'all'
    assert not head.coder.round_up


MATRICES = [np.array([[0.5, 0, 6], [0, 0.5, -3], [0, 0, 1]]),
            np.array([[1.5, 0, -20], [0, 2.0, 11], [0, 0, 1]])]


@pytest.mark.parametrize('with_wh', [True, False], ids=['wh', 'no wh'])
@pytest.mark.parametrize('shift_sizes', [False, True])
def test_predictions_equal_loop_through_the_way_back(shift_sizes, with_wh):
    """2D boxes are mapped to the image; 3D boxes stay. ``shift_sizes`` maps a size like a point,
    with the shift, too."""
    rng = np.random.default_rng(0)
    outputs = make_outputs(2)
    if not with_wh:
        del outputs['wh']
    cameras = [make_camera(rng, 100, 80) for _ in MATRICES]
    metas = [dict(homography_matrix=matrix, cam2img=matrix @ camera)
             for matrix, camera in zip(MATRICES, cameras)]
    head = make_head(test_cfg=dict(max_per_img=12, shift_sizes=shift_sizes), with_wh=with_wh)
    inside, back = (head.predict_by_feat([outputs], metas, rescale=rescale)
                    for rescale in (False, True))
    for image, (meta, matrix) in enumerate(zip(metas, MATRICES)):
        expected = decode_slowly(as_probabilities(outputs, image), meta['cam2img'], 12)
        for found in (inside[image], back[image]):
            assert len(found) == len(expected) == 12
            assert found.scores.tolist() == pytest.approx([entry[0] for entry in expected])
            assert found.labels.tolist() == [entry[1] for entry in expected]
            for n, (_, _, _, box, alpha, depth) in enumerate(expected):
                np.testing.assert_allclose(
                    found.bboxes_3d[n, :6], box[:6], rtol=1e-5, atol=1e-3)
                assert angle_between(float(found.bboxes_3d[n, 6]), box[6]) < 1e-5
                assert angle_between(float(found.alpha[n]), alpha) < 1e-5
                assert float(found.depth[n]) == pytest.approx(depth, rel=1e-5)
        for n, (_, _, (x1, y1, x2, y2), *_) in enumerate(expected):
            tolerance = dict(rtol=1e-3, atol=1e-3) if not with_wh else dict(atol=1e-3)
            np.testing.assert_allclose(inside[image].bboxes[n], (x1, y1, x2, y2), **tolerance)
            center = np.linalg.solve(matrix, ((x1 + x2) / 2, (y1 + y2) / 2, 1))[:2]
            size = np.linalg.solve(matrix, (x2 - x1, y2 - y1, 1 if shift_sizes else 0))[:2]
            np.testing.assert_allclose(
                back[image].bboxes[n], [*(center - size / 2), *(center + size / 2)], **tolerance)


def test_predictions_need_no_homography():
    """MMDetection's pipelines pack ``scale_factor`` and ``border``; the camera is the input's."""
    outputs = make_outputs(1)
    camera = make_camera(np.random.default_rng(0), 100, 80)
    matrix = np.array([[0.5, 0, 8], [0, 0.6, 4], [0, 0, 1]])
    head = make_head()
    found, = head.predict_by_feat([outputs], [dict(
        scale_factor=(0.5, 0.6), border=(4, 90, 8, 100), cam2img=matrix @ camera)])
    wanted, = head.predict_by_feat(
        [outputs], [dict(homography_matrix=matrix, cam2img=matrix @ camera)])
    assert len(found) == len(wanted) > 20
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize('location_offset', [False, True])
def test_predictions_return_boxes_through_a_moved_input(location_offset):
    """Objects of an image, encoded and found on its scaled and shifted copy, whose camera moved
    along: 1 mm and 1e-4."""
    rng = np.random.default_rng(5)
    head = make_head(with_location_offset=location_offset,
                     test_cfg=dict(max_per_img=40, score_thr=0.99))
    height, width = 52, 160
    shape = (10, CLASSES, height, width)
    scenes, moved, metas = [], [], []
    for _ in range(shape[0]):
        zoom, shift = rng.uniform(0.5, 1.5, 2), rng.uniform(-40, 40, 2)
        matrix = np.array([[zoom[0], 0, shift[0]], [0, zoom[1], shift[1]], [0, 0, 1]])
        original = np.linalg.inv(matrix)
        camera = original @ make_camera(rng, STRIDE * width, STRIDE * height)
        objects, inputs = [], []
        for place in scattered(rng, STRIDE * width, STRIDE * height, 12, 0.3):
            seen = (original @ [*place, 1])[:2]
            each = make_object(
                rng, camera, seen, rng.uniform(4, 70), rng.uniform(8, 200, 2) / zoom)
            corners = (matrix @ [*each.bbox[:2], 1])[:2], (matrix @ [*each.bbox[2:], 1])[:2]
            if min(corners[0]) > 0 and (corners[1] < STRIDE * np.array(
                    [width - 1, height - 1])).all():
                objects.append(each)
                inputs.append(type(each)(**{**vars(each), 'bbox': tuple(np.ravel(corners))}))
        scenes.append(objects)
        moved.append((matrix @ camera, inputs))
        metas.append(dict(homography_matrix=matrix.astype(np.float32), cam2img=matrix @ camera))
    assert sum(map(len, scenes)) > 60
    outputs = perfect_outputs(head, encode_scenes(head, moved, shape))
    for objects, found in zip(scenes, head.predict_by_feat([outputs], metas)):
        assert len(found) == len(objects)
        for each in objects:
            index = (found.bboxes - torch.tensor(each.bbox)).abs().amax(dim=1).argmin()
            assert (found.bboxes[index] - torch.tensor(each.bbox)).abs().max() < 0.01
            assert found.labels[index] == each.type
            box = found.bboxes_3d[index].tolist()
            assert math.dist(box[:3], each.bbox_3d[:3]) < 1e-3
            assert box[3:6] == pytest.approx(each.bbox_3d[3:6], abs=1e-4)
            assert angle_between(box[6], each.bbox_3d[6]) < 1e-4
            assert angle_between(float(found.alpha[index]), each.alpha) < 1e-4


def flipped_scene(camera, objects, width):
    """Return the scene of a flipped image: pixels x -> W - 1 - x, the world x -> -x."""
    flip = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])
    flipped = []
    for each in objects:
        x1, y1, x2, y2 = each.bbox
        x, y, z, *dims, rotation = each.bbox_3d
        flipped.append(type(each)(
            type=each.type, bbox=(width - 1 - x2, y1, width - 1 - x1, y2),
            bbox_3d=(-x, y, z, *dims, wrap_slowly(math.pi - rotation)),
            alpha=wrap_slowly(math.pi - each.alpha)))
    return flip @ camera @ np.diag([-1.0, 1, 1, 1]), flipped


def scenes_and_flips(shape):
    """Return scenes, and perfect outputs for them and for their flipped images, in which each
    center's cell is the flipped one."""
    rng = np.random.default_rng(6)
    height, width = shape[2:]
    scenes = []
    for _ in range(shape[0]):
        camera, objects = make_camera(rng, STRIDE * width, STRIDE * height), []
        for place in scattered(rng, STRIDE * width, STRIDE * height, 8, 0.3):
            # Beyond the last pixel of its cell a center comes into the next one by flipping.
            place = place // STRIDE * STRIDE + rng.uniform(0.1, STRIDE - 1.1, 2)
            objects.append(make_object(rng, camera, place, rng.uniform(4, 60),
                                       rng.uniform(10, 60, 2)))
        scenes.append((camera, objects))
    flipped = [flipped_scene(*scene, STRIDE * width) for scene in scenes]
    head = make_head()
    plain, other = (perfect_outputs(head, encode_scenes(head, each, shape))
                    for each in (scenes, flipped))
    return scenes, plain, other


def test_merge_flipped_of_perfect_outputs_changes_nothing():
    """Where a network predicts what is in the flipped image, with its angles, sizes and depths;
    offsets are the unflipped image's."""
    shape = (3, CLASSES, 40, 60)
    scenes, plain, flipped = scenes_and_flips(shape)
    head = make_head(test_cfg=dict(score_thr=0.99))
    merged = head.merge_flipped(
        {name: torch.cat((value, flipped[name])) for name, value in plain.items()})
    for name, value in plain.items():
        torch.testing.assert_close(
            merged[name].sigmoid() if name == 'heatmap' else merged[name],
            value.sigmoid() if name == 'heatmap' else value, rtol=0, atol=2e-5, msg=name)
    metas = [dict(homography_matrix=np.eye(3), cam2img=camera) for camera, _ in scenes]
    for (_, objects), found, wanted in zip(
            scenes, head.predict_by_feat([merged], metas), head.predict_by_feat([plain], metas)):
        assert len(found) == len(wanted) == len(objects)
        for each in objects:
            index = (found.bboxes - torch.tensor(each.bbox)).abs().amax(dim=1).argmin()
            box = found.bboxes_3d[index].tolist()
            assert math.dist(box[:3], each.bbox_3d[:3]) < 1e-3
            assert angle_between(box[6], each.bbox_3d[6]) < 1e-4
            assert angle_between(float(found.alpha[index]), each.alpha) < 1e-4


def test_merge_flipped_equals_loop():
    """Sines change their sign, which are channels 2 and 6."""
    head, output = make_head(), make_outputs(4)
    merged = head.merge_flipped(output)
    assert merged.keys() == output.keys()
    for name, value in merged.items():
        assert value.shape == (2, CHANNELS[name], HEIGHT, WIDTH)
        for image in range(2):
            for channel in range(CHANNELS[name]):
                for x in range(WIDTH):
                    ours = output[name][image, channel, :, x]
                    theirs = output[name][2 + image, channel, :, WIDTH - 1 - x]
                    if name == 'orientation' and channel in (2, 6):
                        theirs = -theirs
                    found = value[image, channel, :, x]
                    if name == 'heatmap':
                        torch.testing.assert_close(
                            found.sigmoid(), (ours.sigmoid() + theirs.sigmoid()) / 2)
                    elif 'offset' in name:
                        assert torch.equal(found, ours)
                    else:
                        torch.testing.assert_close(found, (ours + theirs) / 2)


def test_flip_testing_of_a_detector(monkeypatch):
    """The augmented model predicts from both outputs what the detector predicts from one."""
    shape = (1, CLASSES, 40, 60)
    scenes, plain, flipped = scenes_and_flips(shape)
    detector = MODELS.build(Config(dict(
        type='mmdet_centernet.CenterNet',
        data_preprocessor=dict(type='mmdet.DetDataPreprocessor'),
        backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, num_stages=2,
                      strides=(1, 2), dilations=(1, 1), out_indices=(1, )),
        neck=dict(type='mmdet_centernet.CTResNetNeck', in_channels=16,
                  num_deconv_filters=(8, ), num_deconv_kernels=(4, ), use_dcn=False),
        bbox_head=dict(type='mmdet_centernet.CenterNetMono3DHead', in_channels=8,
                       feat_channels=8, with_location_offset=True),
        test_cfg=dict(score_thr=0.99)))).eval()
    sizes = []

    def outputs(features):
        sizes.append(len(features[0]))
        return {name: torch.cat((value, flipped[name]))[:len(features[0])]
                for name, value in plain.items()}

    monkeypatch.setattr(detector.bbox_head, 'forward_last', outputs)
    matrix = np.array([[0.5, 0, 3], [0, 0.5, -4], [0, 0, 1]])
    camera, objects = scenes[0]
    image = torch.zeros(3, STRIDE * 40, STRIDE * 60, dtype=torch.uint8)

    def sample():
        return DetDataSample(metainfo=dict(
            homography_matrix=matrix, cam2img=camera, img_shape=image.shape[1:]))

    with torch.no_grad():
        wanted, = detector.test_step(dict(inputs=[image], data_samples=[sample()]))
        found, = CenterNetTTAModel(module=detector).test_step(
            dict(inputs=[[image]], data_samples=[[sample()]]))
    assert sizes == [1, 2]
    wanted, found = wanted.pred_instances, found.pred_instances
    assert len(found) == len(wanted) == len(objects)
    order = [int((found.bboxes - box).abs().sum(dim=1).argmin()) for box in wanted.bboxes]
    assert len(set(order)) == len(objects)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name][order], value, rtol=0, atol=1e-3)
