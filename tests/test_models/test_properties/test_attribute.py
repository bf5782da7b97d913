"""Attributes of all three kinds: targets, losses over known values, decoding, and mistakes."""
import math

import pytest
import torch
from helpers.boxes import CLASSES, HEIGHT, WIDTH, make_objects
from helpers.heads import assert_all_get_gradients, encode, perfect_outputs
from reference.heatmap import peaks_slowly

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import Attribute

pytestmark = pytest.mark.usefixtures('mmdet_scope')
NAN = float('nan')
SHAPE = (2, CLASSES, HEIGHT, WIDTH)
#: kind -> (arguments, values of five objects, of which some are missing).
KINDS = {
    'class': (dict(num_classes=4), [3.0, NAN, 0, 2, 1]),
    'multi_label': (dict(num_classes=3), [
        [1.0, 0, 1], [NAN] * 3, [0, NAN, 1], [0, 0, 0], [1, 1, 1]]),
    'number': (dict(mean=30.0, std=10.0), [12.0, NAN, 55, 30, 41]),
}
ALL = pytest.mark.parametrize('kind', KINDS)


def make_head(kind, **options):
    torch.manual_seed(0)
    attribute = Attribute('x', kind, **KINDS[kind][0])
    return CenterHead(CLASSES, 6, 5, [attribute], coder=dict(shared_cells='all'), **options)


def make_instances(kind, count=5):
    """Return two images; the third object of the first is outside the map."""
    instances = make_objects(3, 2)
    values = torch.tensor(KINDS[kind][1])
    instances[0].attribute_x, instances[1].attribute_x = values[:3], values[3:]
    return [each[:count] for each in instances]


def terms_of(kind):
    """Return {(object, entry): wanted} of the values that are known and trained."""
    options, rows = KINDS[kind]
    found = {}
    for n, row in enumerate(rows):
        for v, value in enumerate(row if kind == 'multi_label' else [row]):
            if n != 2 and not math.isnan(value):
                found[n, v] = (value - options['mean']) / options['std'] if kind == 'number' else (
                    value)
    return found


@ALL
def test_encode_equals_loop(kind):
    """Missing values and objects outside the map are not trained; nothing is NaN."""
    target = encode(make_head(kind), make_instances(kind), SHAPE).attribute_x
    wanted = terms_of(kind)
    assert torch.isfinite(target.values).all()
    assert target.values.dtype == (torch.int64 if kind == 'class' else torch.float32)
    count = KINDS[kind][0].get('num_classes', 1)
    assert target.values.shape == dict(
        {'class': (5,), 'multi_label': (5, count), 'number': (5, 1)})[kind]
    weights, values = target.weight.view(5, -1), target.values.view(5, -1)
    assert {tuple(place) for place in (weights > 0).nonzero().tolist()} == wanted.keys()
    assert target.count == len(wanted)
    for (n, v), value in wanted.items():
        assert weights[n, v] == 1
        assert float(values[n, v]) == pytest.approx(value)


def loss_slowly(kind, output, target):
    """Return the sum over the known values of both images, with the original's L1 and
    entropies."""
    total = 0.0
    for (n, v), wanted in terms_of(kind).items():
        cell = int(target.cells[n])
        logits = output[int(target.images[n]), :, cell // WIDTH, cell % WIDTH].tolist()
        if kind == 'class':
            total -= logits[int(wanted)] - math.log(sum(math.exp(x) for x in logits))
        elif kind == 'multi_label':
            p = 1 / (1 + math.exp(-logits[v]))
            total -= math.log(p if wanted else 1 - p)
        else:
            total += abs(logits[0] - wanted)
    return total


@ALL
@pytest.mark.parametrize('normalizer, eps', [('objects', 1e-4), ('peaks', 0), ('slots', 0)])
def test_loss_averages_over_known_values(kind, normalizer, eps):
    """Whatever other losses are averaged over: who has no value does not count."""
    head = make_head(kind, normalizer=normalizer)
    outputs = head([torch.randn(2, 6, HEIGHT, WIDTH)])[0][0]
    outputs['attribute_x'] = torch.randn_like(outputs['attribute_x']) * 3
    instances = make_instances(kind)
    losses = head.loss_by_feat([outputs], instances, [{}] * 2)
    assert set(losses) == {'loss_center_heatmap', 'loss_attribute_x'}
    target = encode(head, instances, SHAPE).attribute_x
    expected = loss_slowly(kind, outputs['attribute_x'], target) / (len(terms_of(kind)) + eps)
    assert losses['loss_attribute_x'].item() == pytest.approx(expected, rel=1e-5)


@ALL
def test_loss_of_missing_values_reaches_no_cell(kind):
    head = make_head(kind)
    instances = make_instances(kind)
    outputs = {name: value.detach().requires_grad_() for name, value in head(
        [torch.randn(2, 6, HEIGHT, WIDTH)])[0][0].items()}
    head.loss_by_feat([outputs], instances, [{}] * 2)['loss_attribute_x'].backward()
    target = encode(head, instances, SHAPE).attribute_x
    known = {n for n, _ in terms_of(kind)}
    cells = {(int(target.images[n]), int(target.cells[n])) for n in known}
    found = outputs['attribute_x'].grad.abs().sum(dim=1).flatten(1).nonzero()
    assert {tuple(place) for place in found.tolist()} <= cells
    assert outputs['attribute_x'].grad.abs().sum() > 0


@ALL
def test_every_parameter_gets_a_gradient(kind):
    """Without objects, and without a single known value, too."""
    for case, instances in (('some', make_instances(kind)), ('none', make_instances(kind, 0)),
                            ('unknown', make_instances(kind))):
        if case == 'unknown':
            for each in instances:
                each.attribute_x = torch.full_like(each.attribute_x, NAN)
        head = make_head(kind)
        losses = head.loss_by_feat(
            head([torch.randn(2, 6, HEIGHT, WIDTH)])[0], instances, [{}] * 2)
        assert (losses['loss_attribute_x'] > 0) == (case == 'some')
        assert_all_get_gradients(head, losses, case)


@ALL
def test_decode_equals_loop(kind):
    """Probabilities of a class sum to 1, those of labels are each its own; a number is in its
    own unit."""
    head = make_head(kind, test_cfg=dict(topk=20))
    torch.manual_seed(1)
    outputs = {name: torch.randn(2, branch.channels, HEIGHT, WIDTH) * 2
               for name, branch in head.branches.items()}
    found = head.decode(outputs)['attribute_x']
    assert found.shape == ((2, 20) if kind == 'number' else (2, 20, KINDS[kind][0]['num_classes']))
    for image in range(2):
        peaks = peaks_slowly(outputs['heatmap'][image].double())[:20]
        for n, (_, _, x, y) in enumerate(peaks):
            raw = outputs['attribute_x'][image, :, y, x].tolist()
            if kind == 'class':
                total = sum(math.exp(value) for value in raw)
                wanted = [math.exp(value) / total for value in raw]
                assert float(found[image, n].sum()) == pytest.approx(1)
            elif kind == 'multi_label':
                wanted = [1 / (1 + math.exp(-value)) for value in raw]
            else:
                wanted = [raw[0] * 10 + 30]
            assert found[image, n].reshape(-1).tolist() == pytest.approx(wanted, rel=1e-5)


@ALL
def test_decode_returns_what_was_encoded(kind):
    head = make_head(kind, test_cfg=dict(topk=10))
    instances = make_instances(kind)
    targets = encode(head, instances, SHAPE)
    outputs = perfect_outputs(head, targets)
    decoded, peaks = head.decode(outputs), head.coder.decode(outputs['heatmap'], 10)
    cells = {}
    for (n, v), _ in terms_of(kind).items():
        place = int(targets.centers.images[n]), int(targets.centers.cells[n])
        cells.setdefault(place, []).append((n, v))
    checked = 0
    for image in range(2):
        for k in (peaks.scores[image] > 0.99).nonzero().flatten().tolist():
            entries = cells.get((image, int(peaks.cells[image, k])), [])
            if len({n for n, _ in entries}) > 1:
                continue  # two objects share the cell
            found = decoded['attribute_x'][image, k].reshape(-1)
            for n, v in entries:
                value = KINDS[kind][1][n]
                if kind == 'class':
                    assert found.argmax() == value and found.max() > 0.99
                elif kind == 'multi_label':
                    assert float(found[v]) == pytest.approx(value[v], abs=0.01)
                else:
                    assert float(found) == pytest.approx(value)
                checked += 1
    assert checked >= 3


def test_flip_averages_the_outputs():
    """What an object looks like does not change in a flipped image."""
    head = make_head('class')
    outputs = {name: torch.randn(4, branch.channels, HEIGHT, WIDTH)
               for name, branch in head.branches.items()}
    merged = head.merge_flipped(outputs)['attribute_x']
    for x in range(WIDTH):
        wanted = (outputs['attribute_x'][:2, ..., x]
                  + outputs['attribute_x'][2:, ..., WIDTH - 1 - x]) / 2
        torch.testing.assert_close(merged[..., x], wanted)


def test_needs_end_in_one_message():
    head = make_head('class')
    with pytest.raises(UserError, match="made.png comes without attribute_x: .*attribute 'x'.*"
                                        'metainfo.attributes.*LoadAttributes'):
        head.loss_by_feat(head([torch.randn(1, 6, HEIGHT, WIDTH)])[0], make_objects(2),
                          [dict(img_path='made.png')])


@pytest.mark.parametrize('options, words', [
    (dict(name='x', kind='colour'), "kind = 'colour' of the attribute 'x' must be one of"),
    (dict(name='x', num_classes=1), 'num_classes = 1 .* at least 2 for a class'),
    (dict(name='x', kind='multi_label', num_classes=0), 'num_classes = 0'),
    (dict(name='x', kind='number', num_classes=2), 'num_classes = 2 .* must be 1 for a number'),
    (dict(name='', num_classes=2), "name '' must not be empty"),
    (dict(name='x.y', num_classes=2), "'x.y' must not be empty or have a dot"),
    (dict(name='x', kind='number', std=0), 'std = 0 .* must be positive'),
    (dict(name='x', kind='number', std=-1.0), 'std = -1.0')], ids=str)
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        Attribute(**options)


RIPENESS = dict(kind='class', values=['green', 'yellow', 'red'])


def test_use_dataset_takes_the_names_of_values():
    attribute = Attribute('ripeness', num_classes=3)
    assert attribute.describe() == dict(attributes=dict(ripeness=dict(kind='class')))
    attribute.use_dataset(dict(classes=['apple'], attributes=dict(ripeness=RIPENESS)))
    assert attribute.values == ['green', 'yellow', 'red']
    assert attribute.describe() == dict(attributes=dict(ripeness=RIPENESS))
    age = Attribute('age', kind='number')
    age.use_dataset(dict(attributes=dict(age=dict(kind='number'), ripeness=RIPENESS)))
    assert age.values is None
    assert age.describe() == dict(attributes=dict(age=dict(kind='number')))


@pytest.mark.parametrize('metainfo', [{}, dict(attributes=None), dict(attributes={})], ids=str)
def test_use_dataset_without_attributes_changes_nothing(metainfo):
    """A data set to predict on does not need any."""
    attribute = Attribute('ripeness', num_classes=3)
    attribute.use_dataset(metainfo)
    assert attribute.values is None


@pytest.mark.parametrize('options, words', [
    (dict(name='ripenes', num_classes=3), r"'ripenes', which the data set does not have: its "
                                          r"attributes are \['ripeness'\]"),
    (dict(name='ripeness', num_classes=4), "kind 'class' with 3 value.*'class' with 4 in the "
                                           "model: set kind='class', num_classes=3"),
    (dict(name='ripeness', kind='multi_label', num_classes=3), "set kind='class', num_classes=3"),
    (dict(name='ripeness', kind='number'), "kind 'number' with 1 in the model: set kind='class'"),
], ids=str)
def test_use_dataset_refuses_other_attributes(options, words):
    with pytest.raises(UserError, match=words):
        Attribute(**options).use_dataset(dict(attributes=dict(ripeness=RIPENESS)))
