"""The options of 3D boxes from later papers: each against a loop, together, and contradictions."""
import argparse
import copy
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.boxes_3d import (
    CAMERA,
    CLASSES,
    arguments,
    box_at,
    make_camera,
    make_object,
    make_scene,
    scattered,
)
from helpers.configs import CONFIGS
from helpers.heads import assert_all_get_gradients, encode, perfect_outputs
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS
from reference.camera import angle_between
from reference.detection import STRIDE
from reference.heatmap import draw_slowly
from reference.mono3d_plus import (
    bin_loss_slowly,
    bin_slowly,
    dimension_aware_slowly,
    laplace_slowly,
    place_slowly,
)

from mmdet_centernet import cli
from mmdet_centernet.checkpoints.read import load_state
from mmdet_centernet.datasets.transforms import CenterAffine3D, PackMono3DInputs
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead, CenterNetMono3DHead
from mmdet_centernet.models.properties import Boxes3D, Depth, Orientation

pytestmark = pytest.mark.usefixtures('mmdet_scope')
HEIGHT, WIDTH = 13, 18
FOCAL = 80
PEAK = dict(peak='center_3d')
ALL = dict(
    with_location_offset=True, coder=PEAK, depth_uncertainty=True, depth_focal=FOCAL,
    orientation_bins=12, aux_corners=True, normalizer='objects',
    loss_dims=dict(type='mmdet_centernet.DimensionAwareL1Loss'))
SWITCHES = {
    'peak': dict(with_location_offset=True, coder=PEAK),
    'border': dict(with_location_offset=True, coder=dict(PEAK, outside='border')),
    'uncertainty': dict(depth_uncertainty=True),
    'tolerance': dict(depth_uncertainty=True, depth_tolerance=1.0),
    'focal': dict(depth_focal=FOCAL), 'bins': dict(orientation_bins=12),
    'dimensions': dict(loss_dims=ALL['loss_dims']), 'corners': dict(aux_corners=True), 'all': ALL}


def make_head(**options):
    torch.manual_seed(0)
    return CenterNetMono3DHead(CLASSES, 8, 8, **options)


def encode_scenes(head, scenes, shape, augmented=None):
    instances, metas, ignored = arguments(scenes, augmented)
    return encode(head, instances, shape, metas, ignored)


def known(objects):
    return [each for each in objects if not isinstance(each.type, str)]


@pytest.mark.parametrize('outside', ['drop', 'border'])
def test_targets_equal_loop(outside):
    """Of objects in and around maps, some of them near: the place of the peak and what is
    measured from there, virtual depth, bins and corners."""
    rng = np.random.default_rng(0)
    shape, scenes = (6, CLASSES, HEIGHT, WIDTH), []
    for _ in range(shape[0]):
        camera, objects = make_scene(rng, STRIDE * WIDTH, STRIDE * HEIGHT, 12, ignored=False)
        for number, each in enumerate(objects):
            box = list(each.bbox_3d)
            if number % 3 == 0:  # beside or behind the image's border
                box[0] += rng.uniform(-8, 8)
            if number % 4 == 0:
                box[2] = rng.uniform(-1, 3)
            each.bbox_3d = tuple(box)
        scenes.append((camera, objects))
    head = make_head(**dict(ALL, coder=dict(PEAK, outside=outside)))
    targets = encode_scenes(head, scenes, shape)
    number, seen = 0, dict(dropped=0, moved=0, behind=0)
    heatmap = np.zeros(shape)
    for image, (camera, objects) in enumerate(scenes):
        for each in objects:
            place = place_slowly(each, shape[2:], camera, outside)
            at = {name: getattr(targets, name).values[number].tolist() for name in (
                'wh', 'offset', 'location_offset', 'depth', 'dims', 'orientation', 'corners')}
            weights = {name: getattr(targets, name).weight[number].tolist() for name in at}
            cell = int(targets.centers.cells[number])
            number += 1
            if place is None:
                assert not np.any(np.concatenate([np.ravel(v) for v in weights.values()]))
                seen['dropped'] += 1
                continue
            seen['moved'] += not all(0 <= value < 1 for value in place.location_offset)
            assert (cell % WIDTH, cell // WIDTH) == place.cell
            draw_slowly(heatmap[image, each.type], *place.cell, place.radius)
            for name in ('wh', 'offset', 'location_offset'):
                assert weights[name] == 1
                assert at[name] == pytest.approx(getattr(place, name), abs=1e-3, rel=1e-4), name
            assert at['depth'] == pytest.approx([each.bbox_3d[2] * FOCAL / camera[1, 1]])
            assert at['dims'] == pytest.approx(each.bbox_3d[3:6])
            best, residual = bin_slowly(each.alpha, 12)
            assert at['orientation'] == pytest.approx([best, residual], abs=1e-5)
            for found, weight, corner in zip(at['corners'], weights['corners'], place.corners):
                assert weight == (corner is not None)
                seen['behind'] += corner is None
                assert found == pytest.approx(corner or [0, 0], abs=1e-2, rel=1e-3)
    np.testing.assert_allclose(targets.heatmap.heatmap.to_dense().numpy(), heatmap, atol=1e-5)
    assert seen['dropped'] >= 5, seen
    if outside == 'border':
        assert min(seen['moved'], seen['behind']) >= 5, seen
    else:
        assert seen['moved'] == 0
    assert targets.corners.count == 8 * targets.wh.weight.sum()


def test_an_object_whose_3d_center_is_outside_the_map():
    """Dropped, or at the border, also if the 2D box is nearly all of the map."""
    each = box_at(8, 24, 60, 20, 1)
    each.bbox_3d = (-12.0, 1.0, 10.0, 1.5, 1.6, 4.0, 0.0)  # seen at x = -71.5 px
    shape = (1, CLASSES, HEIGHT, WIDTH)
    dropped = encode_scenes(make_head(**SWITCHES['peak']), [(CAMERA, [each])], shape)
    assert not dropped.wh.weight.any() and dropped.heatmap.heatmap.num_peaks() == 0
    moved = encode_scenes(make_head(**SWITCHES['border']), [(CAMERA, [each])], shape)
    assert moved.wh.weight.tolist() == [1] and moved.heatmap.heatmap.num_peaks() == 1
    assert moved.centers.xy[0, 0] == 0
    assert moved.location_offset.values[0, 0].item() == pytest.approx(-71.5 / STRIDE, abs=0.1)
    each.bbox_3d = (0.0, 1.0, -2.0, 1.5, 1.6, 4.0, 0.0)
    behind = encode_scenes(make_head(**SWITCHES['border']), [(CAMERA, [each])], shape)
    assert not behind.wh.weight.any()


@pytest.mark.parametrize('heatmap', ['corner', 'area', 'sides'])
def test_gaussians_are_around_the_projected_center(heatmap):
    """As those of a box of the same size around it."""
    options = dict(heatmap=heatmap, min_overlap=None, radius='corrected')
    each = box_at(40, 30, 20, 16, 1)
    seen = (100 * 1 + 48 * 20 + 5) / 20.003, (100 * 1.25 + 24 * 20 + 0.2) / 20.003
    other = box_at(*seen, 20, 16, 1)
    shape = (1, CLASSES, HEIGHT, WIDTH)
    plain = encode_scenes(make_head(coder=options), [(CAMERA, [other])], shape)
    moved = encode_scenes(make_head(
        with_location_offset=True, coder=dict(PEAK, **options)), [(CAMERA, [each])], shape)
    torch.testing.assert_close(moved.heatmap.heatmap.to_dense(), plain.heatmap.heatmap.to_dense())
    assert moved.centers.xy.tolist() == plain.centers.xy.tolist()


def test_targets_without_objects_and_with_what_is_not_a_number():
    head, shape = make_head(**ALL), (2, CLASSES, HEIGHT, WIDTH)
    targets = encode_scenes(head, [(CAMERA, []), (CAMERA, [])], shape)
    assert targets.corners.values.shape == (0, 8, 2)
    assert targets.orientation.values.shape == (0, 2)
    nan = float('nan')
    objects = [box_at(50, 30, 20, 16, 1), box_at(30, 20, 9, 8, 2)]
    objects[0].bbox_3d, objects[0].alpha = (nan, ) * 7, nan
    targets = encode_scenes(head, [(CAMERA, objects), (CAMERA, [])], shape)
    for name in ('wh', 'depth', 'dims', 'orientation', 'corners', 'location_offset'):
        target = getattr(targets, name)
        assert target.weight.flatten(1).any(dim=1).tolist() == [False, True] if (
            target.weight.dim() > 1) else target.weight.tolist() == [0, 1]
        assert torch.isfinite(target.values).all(), name


@pytest.mark.parametrize('name', ['peak', 'border', 'focal', 'bins', 'all'])
def test_decode_returns_every_box(name):
    """300 objects of 15 cameras, from the outputs of a perfect network."""
    rng = np.random.default_rng(0)
    height, width = 52, 160
    scenes = []
    for _ in range(15):
        camera, objects = make_camera(rng, STRIDE * width, STRIDE * height), []
        for place in scattered(rng, STRIDE * width, STRIDE * height, 60, 0.25):
            each = make_object(rng, camera, place, rng.uniform(12, 80))
            x1, y1, x2, y2 = each.bbox
            each.center = (x1 + x2) // (2 * STRIDE), (y1 + y2) // (2 * STRIDE)
            inside = min(x1, y1) > 0 and x2 < STRIDE * (width - 1) and y2 < STRIDE * (height - 1)
            if inside and all(each.center != other.center for other in objects):
                objects.append(each)
        scenes.append((camera, objects[:20]))
    options = {**SWITCHES[name], 'with_location_offset': True}
    head = make_head(**options, test_cfg=dict(topk=100))
    targets = encode_scenes(head, scenes, (15, CLASSES, height, width))
    assert targets.wh.weight.sum() == 300
    cameras = torch.from_numpy(np.stack([camera for camera, _ in scenes]))
    outputs = perfect_outputs(head, targets)
    decoded = head.decode({branch: outputs[branch] for branch in head.inference_branches},
                          dict(cam2img=cameras))
    for image, (_, objects) in enumerate(scenes):
        boxes = decoded['bboxes'][image].double()
        for each in objects:
            index = (boxes - torch.tensor(each.bbox)).abs().amax(dim=1).argmin()
            assert (boxes[index] - torch.tensor(each.bbox)).abs().max() < 0.01
            box = decoded['bboxes_3d'][image, index].tolist()
            assert box[:6] == pytest.approx(each.bbox_3d[:6], abs=2e-3)
            assert angle_between(box[6], each.bbox_3d[6]) < 1e-4
            assert decoded['labels'][image, index] == each.type


def test_virtual_depth_does_not_depend_on_the_zoom():
    """An image at twice the size trains the same output, and decodes to the same meters; it
    trains although it was scaled."""
    objects = [box_at(30, 20, 9, 8, 1)]
    double = np.diag([2.0, 2, 1]) @ CAMERA
    larger = SimpleNamespace(**vars(objects[0]))
    larger.bbox = tuple(2 * value for value in larger.bbox)
    scenes = [(CAMERA, objects), (double, [larger])]
    shape = (2, CLASSES, 2 * HEIGHT, 2 * WIDTH)
    head = make_head(depth_focal=FOCAL)
    targets = encode_scenes(head, scenes, shape, augmented=[False, True])
    assert targets.depth.weight.tolist() == targets.dims.weight.tolist() == [1, 1]
    near, far = targets.depth.values[:, 0].tolist()
    assert near == pytest.approx(20 * FOCAL / 100) and far == pytest.approx(near / 2)
    decoded = head.decode(perfect_outputs(head, targets), dict(
        cam2img=torch.from_numpy(np.stack([CAMERA, double]))))
    torch.testing.assert_close(decoded['depth'][:, 0], torch.full((2, ), 20.0).double())
    targets = encode_scenes(make_head(), scenes, shape, augmented=[False, True])
    assert targets.depth.weight.tolist() == targets.dims.weight.tolist() == [1, 0]


def test_depths_of_scaled_images_through_the_pipeline():
    """What CenterAffine3D does to an image and its camera leaves the virtual depth in proportion
    to the object's size in the image."""
    scene = make_scene(np.random.default_rng(3), 200, 80, 8, ignored=False)
    camera, objects = scene
    ratios = []
    for seed in range(6):
        np.random.seed(seed)
        sample = PackMono3DInputs()(CenterAffine3D(size=(192, 64), aug_prob=0.8, flip_prob=0.5)(
            sample_of(camera, objects, 200, 80)))['data_samples']
        truth = sample.gt_instances
        truth.bboxes = truth.bboxes.tensor
        target = encode(make_head(depth_focal=FOCAL), [truth], (1, CLASSES, 16, 48),
                        [sample.metainfo]).depth
        matrix = sample.homography_matrix
        zoom = abs(matrix[0, 0]) * camera[1, 1] / FOCAL
        ratios += (truth.bboxes_3d[:, 2] / target.values[:, 0] / zoom)[target.weight > 0].tolist()
    assert len(ratios) > 20 and ratios == pytest.approx([1] * len(ratios), rel=1e-4)


def sample_of(camera, objects, width, height):
    boxes, labels, boxes_3d, alpha, *_ = (torch.as_tensor(values) for values in (
        [each.bbox for each in objects], [each.type for each in objects],
        [each.bbox_3d for each in objects], [each.alpha for each in objects]))
    return dict(
        img=np.zeros((height, width, 3), np.uint8), cam2img=camera, ori_shape=(height, width),
        img_id='7', img_path='made.png', gt_bboxes=HorizontalBoxes(boxes.float()),
        gt_bboxes_labels=labels.numpy(), gt_bboxes_3d=boxes_3d.float().numpy(),
        gt_alpha=alpha.float().numpy(), gt_ignore_flags=np.zeros(len(labels), bool))


def test_flipped_samples_have_flipped_peaks():
    """P2 is flipped with the image: the projected center of each 3D box moves to W - x."""
    camera, objects = make_scene(np.random.default_rng(5), 192, 64, 9, ignored=False)
    found = []
    for flip in (0.0, 1.0):
        transform = CenterAffine3D(size=(192, 64), aug_prob=0, flip_prob=flip)
        sample = PackMono3DInputs()(transform(
            sample_of(camera, objects, 192, 64)))['data_samples']
        truth = sample.gt_instances
        truth.bboxes = truth.bboxes.tensor
        found.append(encode(make_head(**ALL), [truth], (1, CLASSES, 16, 48), [sample.metainfo]))
    plain, flipped = found
    assert plain.wh.weight.tolist() == flipped.wh.weight.tolist() and plain.wh.weight.sum() > 4
    for number in plain.wh.weight.nonzero().flatten().tolist():
        seen, other = ((each.centers.xy[number] + each.location_offset.values[number]) * STRIDE
                       for each in found)
        assert other.tolist() == pytest.approx([192 - seen[0].item(), seen[1].item()], abs=0.05)
        index, residual = plain.orientation.values[number].tolist()
        other_index, other_residual = flipped.orientation.values[number].tolist()
        assert angle_between(math.pi * (other_index / 6) + other_residual,
                             math.pi - (math.pi * (index / 6) + residual)) < 1e-5


@pytest.mark.parametrize('tolerance', [None, 0.7])
@pytest.mark.parametrize('focal', [None, FOCAL])
def test_scores_are_multiplied_by_the_confidence_in_the_depth(tolerance, focal):
    torch.manual_seed(0)
    options = dict(depth_uncertainty=True, depth_tolerance=tolerance, depth_focal=focal)
    head = make_head(**options, test_cfg=dict(topk=20))
    plain = make_head(test_cfg=dict(topk=20))
    outputs = {name: torch.randn(2, branch.channels, HEIGHT, WIDTH)
               for name, branch in head.branches.items()}
    cameras = torch.from_numpy(np.stack([CAMERA, np.diag([1.5, 1.5, 1]) @ CAMERA]))
    inputs = dict(cam2img=cameras.float())
    peaks = head.coder.decode(outputs['heatmap'], 20, 3, inputs)
    depth = head.find_property(Depth)
    ones = torch.ones_like(peaks.scores)
    factors = depth.rescore(ones, outputs, peaks, {})
    for image in range(2):
        for n in range(20):
            y, x = divmod(int(peaks.cells[image, n]), WIDTH)
            spread = math.exp(float(outputs['depth'][image, 1, y, x]))
            if focal:
                spread *= float(cameras[image, 1, 1]) / focal
            expected = 1 / spread if tolerance is None else (
                1 - math.exp(-math.sqrt(2) * tolerance / spread))
            assert float(factors[image, n]) == pytest.approx(expected, rel=1e-4)
    assert plain.find_property(Depth).rescore(ones, outputs, peaks, {}) is ones
    decoded = head.decode(outputs, inputs)
    scores, order = (peaks.scores * factors).sort(dim=1, descending=True)
    torch.testing.assert_close(decoded['scores'], scores)
    torch.testing.assert_close(decoded['labels'], peaks.labels.gather(1, order))
    expected = plain.decode(dict(outputs, depth=outputs['depth'][:, :1]), inputs)
    torch.testing.assert_close(decoded['alpha'], expected['alpha'].gather(1, order))


def test_outputs_far_off_give_finite_scores_and_losses():
    head = make_head(**ALL)
    given = arguments([make_scene(np.random.default_rng(0), STRIDE * WIDTH, STRIDE * HEIGHT, 5)])
    for value in (-1e4, 1e4):
        outputs = {name: torch.full((1, branch.channels, HEIGHT, WIDTH), value).requires_grad_()
                   for name, branch in head.branches.items()}
        losses = head.loss_by_feat([outputs], *given)
        assert torch.isfinite(losses['loss_depth']) and torch.isfinite(losses['loss_orientation'])
        assert torch.isfinite(head.decode(outputs, dict(
            cam2img=torch.from_numpy(CAMERA)[None]))['scores']).all()


def test_losses_equal_loop():
    """With all options, of two images, one scaled at random, and objects that are not trained."""
    rng = np.random.default_rng(1)
    scenes = [make_scene(rng, STRIDE * WIDTH, STRIDE * HEIGHT, count) for count in (9, 7)]
    head, shape = make_head(**ALL), (2, CLASSES, HEIGHT, WIDTH)
    outputs = {name: torch.randn(2, branch.channels, HEIGHT, WIDTH, dtype=torch.float64)
               for name, branch in head.branches.items()}
    losses = head.loss_by_feat([outputs], *arguments(scenes, (0, 1)))
    sums = dict.fromkeys(('depth', 'orientation', 'offset', 'location_offset', 'corners'), 0.0)
    count, dims = 0, ([], [])
    for image, (camera, objects) in enumerate(scenes):
        for each in known(objects):
            place = place_slowly(each, shape[2:], camera, 'drop')
            if place is None:
                continue
            count += 1
            at = {name: output[image, :, place.cell[1], place.cell[0]].tolist()
                  for name, output in outputs.items()}
            sums['depth'] += laplace_slowly(
                math.exp(-at['depth'][0]), at['depth'][1], each.bbox_3d[2] * FOCAL / camera[1, 1])
            sums['orientation'] += sum(bin_loss_slowly(at['orientation'], each.alpha))
            dims[0].append(at['dims'])
            dims[1].append(each.bbox_3d[3:6])
            for name in ('offset', 'location_offset'):
                sums[name] += sum(
                    abs(a - b) for a, b in zip(at[name], getattr(place, name))) / 2
            for corner, index in zip(place.corners, range(0, 16, 2)):
                if corner is not None:
                    sums['corners'] += sum(
                        abs(a - b) for a, b in zip(at['corners'][index:], corner)) / 16
    assert count > 4
    sums['dims'] = sum(map(sum, dimension_aware_slowly(*dims))) / 3
    for name, value in sums.items():
        assert float(losses[f'loss_{name}']) == pytest.approx(value / count, rel=1e-4), name
    plain = make_head(**dict(ALL, loss_dims=None)).loss_by_feat(
        [outputs], *arguments(scenes, (0, 1)))
    assert float(losses['loss_dims']) == pytest.approx(float(plain['loss_dims']), rel=1e-5)


@pytest.mark.parametrize('name', SWITCHES)
def test_every_parameter_gets_a_gradient(name):
    head = make_head(**SWITCHES[name])
    head.init_weights()
    rng = np.random.default_rng(0)
    for counts in ((0, 0), (6, 3)):
        scenes = [make_scene(rng, STRIDE * WIDTH, STRIDE * HEIGHT, count) for count in counts]
        losses = head.loss_by_feat(
            head([torch.randn(2, 8, HEIGHT, WIDTH)])[0], *arguments(scenes))
        assert_all_get_gradients(head, losses, (name, counts))


def test_training_only_branches_are_neither_computed_nor_decoded():
    """But their weights are there, and a checkpoint with them loads completely."""
    head = make_head(aux_corners=True, test_cfg=dict(output_heatmaps=False))
    features = [torch.randn(1, 8, HEIGHT, WIDTH)]
    calls = []
    head.stacks[0]['corners'].register_forward_hook(lambda *_: calls.append(1))
    output = head.forward_last(features)
    assert 'corners' not in output and tuple(output) == head.inference_branches and not calls
    sample = DetDataSample(metainfo=dict(cam2img=CAMERA, homography_matrix=np.eye(3)))
    head.eval().predict(features, [sample])
    assert not calls
    assert 'corners' in head(features)[0][0] and calls
    without = make_head()
    assert without.inference_branches == head.inference_branches
    assert set(head.state_dict()) - set(without.state_dict()) == {
        f'stacks.0.corners.{layer}.{leaf}' for layer in (0, 2) for leaf in ('weight', 'bias')}
    assert load_state(make_head(aux_corners=True), head.state_dict()).complete


def test_without_options_nothing_changes():
    """The parameters, and the branches that the original has."""
    channels = {name: branch.channels for name, branch in make_head().branches.items()}
    assert channels == dict(heatmap=CLASSES, depth=1, orientation=8, dims=3, wh=2, offset=2)


@pytest.mark.parametrize('options, words', [
    (dict(coder=PEAK), 'with_location_offset=True'),
    (dict(coder=PEAK, with_location_offset=True, with_offset=False), 'with_offset=True'),
    (dict(coder=dict(outside='border')), "peak='center_3d'"),
    (dict(coder=dict(peak='3d')), 'peak'), (dict(coder=dict(outside='in')), 'outside'),
    (dict(depth_tolerance=1.0), 'uncertainty=True'),
    (dict(depth_uncertainty=True, depth_tolerance=-1), 'must be positive'),
    (dict(depth_focal=0), 'must be positive'),
    (dict(depth_uncertainty=True, loss_depth=dict(type='mmdet.L1Loss')), 'LaplaceLoss'),
    (dict(loss_depth=dict(type='mmdet_centernet.LaplaceLoss')), 'depth uncertainty'),
    (dict(orientation_bins=7), 'even number'), (dict(orientation_bins=0), 'even number'),
    (dict(orientation_bins=12, loss_orientation=dict(type='mmdet_centernet.MultiBinLoss')),
     'AngleBinLoss'),
    (dict(loss_orientation=dict(type='mmdet_centernet.AngleBinLoss')), 'num_bins'),
    (dict(loss_corners=dict(type='mmdet.L1Loss')), 'aux_corners=True')], ids=str)
def test_contradictions_end_in_one_message(options, words):
    with pytest.raises(ValueError, match=words) as error:
        make_head(**options)
    assert '\n' not in str(error.value)


def test_2d_boxes_around_projected_ones_need_no_offset():
    head = make_head(coder=PEAK, with_location_offset=True, with_wh=False, with_offset=False)
    assert 'offset' not in head.branches


def test_peaks_at_3d_centers_need_3d_boxes_and_a_camera():
    """Also in a head that is composed without a property that asks for them."""
    head = CenterHead(CLASSES, 8, 8, properties=[Orientation()], coder=PEAK)
    instances, metas, ignored = arguments([(CAMERA, [box_at(30, 20, 9, 8, 1)])], img_path='a.png')
    shape = (1, CLASSES, HEIGHT, WIDTH)
    with pytest.raises(UserError, match='a.png comes without cam2img, which peaks at 3D centers'):
        head.encode(instances, [dict(img_path='a.png')], shape)
    del instances[0].bboxes_3d
    with pytest.raises(UserError, match='a.png comes without bboxes_3d, which peaks at 3D cent'):
        head.encode(instances, metas, shape)
    assert 'depth' in Boxes3D.image_inputs['cam2img']


def test_commands_of_the_page_switch_one_option_off():
    """Each of them builds a head, other than those of the others."""
    page = (CONFIGS.parent / 'docs/mono3d.md').read_text()
    config = Config.fromfile(CONFIGS.parent / re.search('CONFIG=(.*)', page)[1])
    lines = re.findall(r'work_dirs/no_(\w+) --cfg-options (.*)', page)
    assert len(lines) >= 6
    names = dict(re.findall(r'(HEAD|FIT|VIEW)=(\S+)', page))
    names['NO_VIEW'] = re.search('NO_VIEW="(.*)"', page)[1]
    seen = [config.to_dict()]
    parser = argparse.ArgumentParser()
    cli.add_config_options(parser)
    for name, options in lines:
        while '$' in options:
            options = re.sub(r'\$(\w+)', lambda match: names[match[1]], options)
        words = options.split()
        changed = copy.deepcopy(config)
        changed.merge_from_dict(parser.parse_args(['--cfg-options', *words]).cfg_options)
        assert changed.to_dict() not in seen, name
        seen.append(changed.to_dict())
        with torch.device('meta'):
            MODELS.build(dict(changed.model.bbox_head, test_cfg=changed.model.test_cfg))
        for loader in (changed.train_dataloader, changed.val_dataloader):
            for step in loader.dataset.pipeline:
                TRANSFORMS.build(step)
