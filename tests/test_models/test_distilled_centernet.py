"""A student and its teachers: losses, gradients, state dict, device, errors."""
import copy

import pytest
import torch
from helpers.configs import CONFIGS
from helpers.heads import assert_all_get_gradients
from helpers.models import build, samples
from reference.distillation import heatmap_loss, regression_loss

from mmdet_centernet.errors import UserError

LIGHT = CONFIGS / 'centernet_lite0_140e_coco.py'
HEADS = {
    'pose': CONFIGS / 'centernet_pose_lite0_figures.py',
    'mono3d': CONFIGS / 'centernet_mono3d_lite0_road_scenes.py',
    'plus mono3d': CONFIGS / 'plus' / 'centernet_mono3d_plus_lite0_road_scenes.py'}
STUDENT = ('cat', 'dog', 'bird')
SIZE = 64, 96
BRANCHES = ('heatmap', 'wh', 'offset')
TEACHER = dict(config='teacher.py', checkpoint='teacher.pth')
STUDENT_OPTIONS = dict(type='mmdet_centernet.DistilledCenterNet', teachers=[TEACHER])


def loud(model):
    """Make outputs differ between cells, which they hardly do at the start."""
    for branches in model.bbox_head.stacks:
        for name, branch in branches.items():
            last = [layer for layer in branch if isinstance(layer, torch.nn.Conv2d)][-1]
            torch.nn.init.normal_(last.weight, std=0.5 if 'heatmap' in name else 0.1)
    return model.eval()


def head_of(*properties, num_classes=2, **options):
    return dict(type='mmdet_centernet.CenterHead', num_classes=num_classes, in_channels=32,
                feat_channels=8, properties=list(properties), **options)


@pytest.fixture(scope='module')
def three():
    torch.manual_seed(0)
    return loud(build(LIGHT, bbox_head__num_classes=3))


@pytest.fixture(scope='module')
def two():
    torch.manual_seed(1)
    return loud(build(LIGHT, bbox_head__num_classes=2))


def student_of(config=LIGHT, teachers=(TEACHER,), num_classes=3, **options):
    torch.manual_seed(2)
    return loud(build(config, type='mmdet_centernet.DistilledCenterNet', teachers=list(teachers),
                      bbox_head__num_classes=num_classes, **options))


@pytest.fixture(scope='module')
def student():
    """A student without teachers; tests copy it."""
    return student_of()


def images(seed=0, batch=2):
    return torch.randn(batch, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def outputs_of(model, inputs):
    with torch.no_grad():
        return model(inputs, mode='tensor')[0]


def teach(student, teachers, names=None, classes=STUDENT):
    student.use_teachers(teachers, classes, names or [STUDENT] * len(teachers))
    return student


def teacher_losses(student, inputs):
    with torch.no_grad():
        return student.teacher_losses(inputs, student.bbox_head(student.extract_feat(inputs))[0])


def test_a_student_equal_to_its_teacher_loses_nothing(student, three):
    student = teach(copy.deepcopy(student), [copy.deepcopy(three)])
    student.load_state_dict(three.state_dict())
    losses = teacher_losses(student, images())
    assert set(losses) == {f'loss_teacher_{name}' for name in BRANCHES}
    assert all(value == 0 for value in losses.values())


def test_losses_equal_their_slow_restatement(student, three):
    student = teach(copy.deepcopy(student), [three])
    mine, other = (outputs_of(each, images())[-1] for each in (student, three))
    mine, other = ({k: v.double().numpy() for k, v in each.items()} for each in (mine, other))
    found = teacher_losses(student, images())
    expected = heatmap_loss(mine['heatmap'], other['heatmap'], [(c, c) for c in range(3)])
    assert found['loss_teacher_heatmap'].item() == pytest.approx(expected, rel=1e-4)
    for name, weight in (('wh', 0.1), ('offset', 1)):
        expected = regression_loss(
            mine[name], other[name], lambda v: v, lambda v: v, other['heatmap'], range(3))
        assert found[f'loss_teacher_{name}'].item() == pytest.approx(weight * expected, rel=1e-4)


def test_values_are_compared_not_outputs():
    """Side distances of student and teacher are in other units; keypoint offsets are compared
    at keypoints, and depths in meters."""
    torch.manual_seed(0)
    teacher, student = (
        loud(build(LIGHT, **options, bbox_head=head_of(
            dict(type='mmdet_centernet.LTRB', factor=factor, init_distance=2 * factor),
            dict(type='mmdet_centernet.Keypoints', num_keypoints=2),
            dict(type='mmdet_centernet.Depth'))))
        for factor, options in ((4, {}), (1, STUDENT_OPTIONS)))
    teach(student, [teacher], [('a', 'b')], ('a', 'b'))
    mine, other = ({k: v.double().numpy() for k, v in outputs_of(each, images())[-1].items()}
                   for each in (student, teacher))
    found = teacher_losses(student, images())

    def value(model, name):
        return lambda raw: model.bbox_head.branches[name].to_value(torch.tensor(raw)).numpy()

    for name, weight, peaks in (('ltrb', 0.1, 'heatmap'), ('depth', 1, 'heatmap'),
                                ('keypoint_displacement', 1, 'heatmap'),
                                ('keypoint_offset', 1, 'keypoint_heatmap')):
        expected = regression_loss(mine[name], other[name], value(student, name),
                                   value(teacher, name), other[peaks], range(2))
        assert found[f'loss_teacher_{name}'].item() == pytest.approx(
            weight * expected, rel=1e-4), name


def test_infinite_values_beside_peaks_do_no_harm():
    teacher, student = (
        loud(build(LIGHT, **options, bbox_head=head_of(
            dict(type='mmdet_centernet.Depth'), num_classes=1)))
        for options in ({}, STUDENT_OPTIONS))
    teach(student, [teacher], [None], None)
    outputs = {name: value.clone() for name, value in outputs_of(student, images())[-1].items()}
    outputs['depth'][:] = -500.0
    outputs['depth'].requires_grad_()
    student._teachers[0].forward = lambda inputs: dict(
        heatmap=torch.arange(16.0 * 24).view(1, 1, 16, 24).expand(2, -1, -1, -1) / 100 - 4,
        depth=torch.zeros(2, 1, 16, 24))
    with torch.no_grad():
        outputs['depth'][..., -1, -1] = 0.5  # the only peak
    losses = student.teacher_losses(images(), [outputs])
    losses['loss_teacher_depth'].backward()
    assert torch.isfinite(losses['loss_teacher_depth'])
    assert torch.isfinite(outputs['depth'].grad).all()
    assert (outputs['depth'].grad != 0).sum() == 2


def test_class_slices_do_not_touch_each_other(two):
    teachers = [dict(TEACHER, classes=['bird', 'cat']), dict(TEACHER, classes=['dog'])]
    student = student_of(teachers=teachers)
    torch.manual_seed(3)
    other = loud(build(LIGHT, bbox_head__num_classes=2))
    names = [('bird', 'cat'), ('dog', 'horse')]
    teach(student, [two, other], names)
    inputs = images()
    output = {k: v.clone().requires_grad_() for k, v in outputs_of(student, inputs)[-1].items()}
    for index, touched in enumerate(([0, 2], [1])):
        losses = student.teacher_losses(inputs, [output])
        part = copy.copy(student)
        part._teachers = [student._teachers[index]]
        alone = part.teacher_losses(inputs, [output])
        grad, = torch.autograd.grad(alone['loss_teacher_heatmap'], output['heatmap'])
        assert [c for c in range(3) if grad[:, c].any()] == touched
    both = sum(heatmap_loss(output['heatmap'].detach().numpy(), outputs_of(
        teacher, inputs)[-1]['heatmap'].numpy(), pairs)
        for teacher, pairs in ((two, [(2, 0), (0, 1)]), (other, [(1, 0)])))
    assert losses['loss_teacher_heatmap'].item() == pytest.approx(both, rel=1e-4)


def test_classes_in_another_order_are_matched_by_name(student, three):
    same, moved = copy.deepcopy(student), copy.deepcopy(student)
    order = [2, 0, 1]
    shuffled = copy.deepcopy(three)
    last = shuffled.bbox_head.stacks[0]['heatmap'][-1]
    last.weight.data, last.bias.data = last.weight[order].detach(), last.bias[order].detach()
    teach(same, [three])
    teach(moved, [shuffled], [[STUDENT[c] for c in order]])
    expected, found = (teacher_losses(each, images()) for each in (same, moved))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_only_the_student_is_a_part_of_the_model(student, three):
    plain = build(LIGHT, bbox_head__num_classes=3)
    student = teach(copy.deepcopy(student), [copy.deepcopy(three)])
    assert list(student.state_dict()) == list(plain.state_dict())
    assert len(list(student.parameters())) == len(list(plain.parameters()))
    teacher = student._teachers[0]
    student.train()
    assert not any(each.training for each in teacher.modules())
    before = copy.deepcopy(teacher.state_dict())
    losses = student(images(), samples(2, SIZE, 3, 3), mode='loss')
    assert_all_get_gradients(student, losses)
    assert all(not p.requires_grad and p.grad is None for p in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    student.to('meta')
    assert {value.device.type for value in teacher.state_dict().values()} == {'meta'}


def test_labels_and_teachers_add_up(student, three):
    """The losses by labels are the plain detector's."""
    student = teach(copy.deepcopy(student), [three])
    plain = build(LIGHT, bbox_head__num_classes=3)
    plain.load_state_dict(student.state_dict())
    batch = samples(2, SIZE, 3, 3)
    with torch.no_grad():
        expected = dict(plain.eval()(images(), batch, mode='loss'),
                        **teacher_losses(student, images()))
        found = student(images(), batch, mode='loss')
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_predictions_need_no_teacher(student):
    with torch.no_grad():
        result, _ = student(images(), samples(2, SIZE, 0, 3), mode='predict')
    assert len(result.pred_instances) > 0
    with pytest.raises(UserError, match='not loaded.*DistillationHook'):
        student(images(), samples(2, SIZE, 0, 3), mode='loss')


def test_weights_by_branch_and_teacher(three):
    teachers = [TEACHER, dict(TEACHER, loss_weights=dict(offset=0, wh=2.0))]
    student = student_of(teachers=teachers, loss_weights=dict(heatmap=5.0))
    assert student.loss_weights == [dict(heatmap=5.0, wh=0.1, offset=1.0),
                                    dict(heatmap=5.0, wh=2.0, offset=0)]
    teach(student, [three, three])
    found = teacher_losses(student, images())
    one = teacher_losses(teach(student_of(), [three]), images())
    for name, factor in (('heatmap', 10), ('wh', 21), ('offset', 1)):
        torch.testing.assert_close(
            found[f'loss_teacher_{name}'], factor * one[f'loss_teacher_{name}'])


@pytest.mark.parametrize('name', HEADS)
def test_other_heads_learn_without_labels(name):
    """Branches of training alone, which no teacher has, are frozen then."""
    config = HEADS[name]
    torch.manual_seed(1)
    teacher = loud(build(config))
    classes = teacher.bbox_head.num_classes
    student = student_of(config, num_classes=classes, with_labels=False)
    teach(student, [teacher], [None], None)
    student.train()
    losses = student(images(), samples(2, SIZE, 0, classes), mode='loss')
    taught = set(teacher.bbox_head.inference_branches)
    assert {each.removeprefix('loss_teacher_') for each in losses} == taught
    assert all(value > 0 for value in losses.values())
    sum(losses.values()).backward()
    for key, parameter in student.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
        elif key.startswith('bbox_head'):
            assert not set(key.split('.')) & taught, key
    student.load_state_dict(teacher.state_dict())
    student.eval()
    assert all(value == 0 for value in teacher_losses(student, images()).values())


def test_images_are_normalized_for_the_teacher(student):
    """The teacher sees the same pixels, normalized as in its own training."""
    torch.manual_seed(1)
    teacher = loud(build(
        LIGHT, bbox_head__num_classes=3, data_preprocessor__mean=[100.0, 120, 90],
        data_preprocessor__std=[1.0, 2, 50], data_preprocessor__bgr_to_rgb=False))
    raw = dict(inputs=[torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)],
               data_samples=samples(1, SIZE, 0, 3))
    seen = {}
    teacher.extract_feat, original = lambda x: original(seen.setdefault('x', x)), (
        teacher.extract_feat)
    student = teach(copy.deepcopy(student), [teacher])
    seen.clear()
    student._teachers[0](student.data_preprocessor(copy.deepcopy(raw))['inputs'])
    torch.testing.assert_close(
        seen['x'], teacher.data_preprocessor(raw)['inputs'], atol=1e-3, rtol=1e-4)


def test_losses_are_float32_in_mixed_precision(student, three):
    student = teach(copy.deepcopy(student), [three])
    rough = {name: value.bfloat16() for name, value in outputs_of(student, images())[-1].items()}
    expected = student.teacher_losses(
        images(), [{name: value.float() for name, value in rough.items()}])
    for name, value in student.teacher_losses(images(), [rough]).items():
        torch.testing.assert_close(value, expected[name])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = teacher_losses(student, images())
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


@pytest.mark.parametrize(('options', 'words'), [
    (dict(teachers=[]), 'teachers is empty'),
    (dict(teachers=[dict(config='a.py')]), r'teachers\[0\] has no checkpoint'),
    (dict(teachers=[dict(TEACHER, clases=['cat'])]), r"teachers\[0\] has a key 'clases'"),
    (dict(teachers=[dict(TEACHER, classes='cat')]), "is the string 'cat': write a list"),
    (dict(loss_weights=dict(keypoints=1)), "weight of 'keypoints'.*they are heatmap, "),
    (dict(loss_weights=dict(wh=-1)), 'loss_weights.wh = -1 must be'),
    (dict(teachers=[dict(TEACHER, loss_weights=dict(wh='a'))]), r'teachers\[0\].loss_weights.wh'),
], ids=['none', 'no checkpoint', 'unknown key', 'string', 'no branch', 'negative', 'no number'])
def test_bad_settings_end_in_one_message(options, words):
    with pytest.raises(UserError, match=words):
        student_of(**options)


def test_teachers_that_do_not_fit_end_in_one_message(student, two):
    def refuses(words, teacher, names=STUDENT):
        with pytest.raises(UserError, match=words):
            teach(copy.deepcopy(student), [teacher], [names])

    refuses('has stride 8, but the student 4', build(
        LIGHT, bbox_head__num_classes=3, bbox_head__coder=dict(stride=8)))
    refuses("has no branch 'offset'.*loss_weights=dict\\(offset=0\\)", build(
        LIGHT, bbox_head=head_of(
            dict(type='mmdet_centernet.Box', with_offset=False), num_classes=3)))
    refuses("2 channels per class in its branch 'wh', but the student has 2 channels: ", build(
        LIGHT, bbox_head__num_classes=3, bbox_head__wh_per_class=True))
    refuses('16x16 cells of heatmap.*but the student 32x32', build(
        LIGHT, bbox_head__num_classes=3, backbone__out_strides=(8, 16, 32),
        neck__in_channels=(40, 112, 320), neck__in_strides=(8, 16, 32),
        neck__channels=(32, 64, 96)))
    refuses("only the student has 'bird'", two, ('cat', 'dog'))
    refuses('has 2 classes, but the student 3', two, None)
    refuses('is a Linear without a head', torch.nn.Linear(1, 1))


def test_names_that_one_side_lacks_end_in_one_message(student, three):
    for chosen, names, mine, words in (
        (['horse'], ('cat', 'dog', 'horse'), STUDENT, "'horse', which the student does not have"),
        (['bird'], ('cat', 'dog', 'horse'), STUDENT, "'bird', which the teacher does not have"),
        (['bird'], None, STUDENT, 'those of the teacher are unknown'),
        (['bird'], STUDENT, None, 'those of the student are unknown'),
        ([], STUDENT, STUDENT, 'is to teach no class'),
    ):
        given = copy.deepcopy(student)
        given.teacher_configs = [dict(TEACHER, classes=chosen)]
        with pytest.raises(UserError, match=words):
            given.use_teachers([three], mine, [names])


def test_without_labels_every_class_needs_a_teacher(two):
    student = student_of(teachers=[dict(TEACHER, classes=['cat', 'dog'])], with_labels=False)
    with pytest.raises(UserError, match="no teacher teaches the class 'bird'"):
        teach(student, [two], [('cat', 'dog')])


@pytest.mark.parametrize(('mine', 'theirs', 'words'), [
    (dict(type='LTRB'), dict(type='LTRB', base='corner'), 'LTRB.base = 0.0, but the student 0.5'),
    (dict(type='Depth', focal=700), dict(type='Depth'), 'Depth.focal = None, but the student 700'),
    (dict(type='Orientation'), dict(type='Orientation', num_bins=4), 'Orientation.num_bins = 4'),
    (dict(type='Attribute', name='age', kind='number'),
     dict(type='Attribute', name='age', kind='number', std=2.0), 'Attribute.std = 2.0'),
], ids=['base point', 'focal length', 'bins', 'unit'])
def test_values_that_mean_something_else_end_in_one_message(mine, theirs, words):
    mine, theirs = (head_of(dict(each, type=f'mmdet_centernet.{each["type"]}'))
                    for each in (mine, theirs))
    with pytest.raises(UserError, match=words):
        teach(build(LIGHT, bbox_head=mine, **STUDENT_OPTIONS),
              [build(LIGHT, bbox_head=theirs)], [None], None)


def test_peaks_at_other_points_end_in_one_message():
    teacher, student = (
        build(LIGHT, **options, bbox_head=head_of(coder=dict(peak=peak)))
        for peak, options in (('center_3d', {}), ('box', STUDENT_OPTIONS)))
    with pytest.raises(UserError, match="has peaks at 'center_3d'.*but the student at 'box'"):
        teach(student, [teacher], [None], None)


def test_sizes_per_class_follow_their_class():
    """Those of a class are compared at its own peaks; other classes' channels stay alone."""
    options = dict(bbox_head__wh_per_class=True)
    torch.manual_seed(4)
    teacher = loud(build(LIGHT, bbox_head__num_classes=2, **options))
    student = student_of(teachers=[dict(TEACHER, classes=['bird', 'cat'])], **options)
    teach(student, [teacher], [('bird', 'cat')])
    output = {k: v.clone().requires_grad_() for k, v in outputs_of(student, images())[-1].items()}
    loss = student.teacher_losses(images(), [output])['loss_teacher_wh']
    grad, = torch.autograd.grad(loss, output['wh'])
    assert [c for c in range(6) if grad[:, c].any()] == [0, 1, 4, 5]
    mine, other = ({k: v.detach().double() for k, v in each.items()}
                   for each in (output, outputs_of(teacher, images())[-1]))
    # Student's cat and bird are the teacher's second and first class: one after the other.
    by_class = [(mine['wh'][:, 2 * a:2 * a + 2], other['wh'][:, 2 * b:2 * b + 2],
                 other['heatmap'][:, b:b + 1]) for a, b in ((2, 0), (0, 1))]
    expected = regression_loss(*(torch.cat([each[i] for each in by_class]).numpy()
                                 for i in (0, 1)), lambda v: v, lambda v: v,
                               torch.cat([each[2] for each in by_class]).numpy(), [0])
    assert loss.item() == pytest.approx(0.1 * expected, rel=1e-4)
