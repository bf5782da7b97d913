"""AttributeMetric: figures of a slow loop, whatever the pipeline, beside other metrics."""
import json
import math

import cv2
import numpy as np
import processes
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from reference.matching import match_slowly

from mmdet_centernet.datasets import CocoDataset
from mmdet_centernet.errors import UserError
from mmdet_centernet.evaluation import AttributeMetric

NAN = math.nan
ATTRIBUTES = dict(
    ripeness=dict(kind='class', values=['green', 'ripe', 'rotten']),
    tags=dict(kind='multi_label', values=['wet', 'large', 'dusty', 'cut']),
    age=dict(kind='number'))
META = dict(classes=('apple', 'pear'), attributes=ATTRIBUTES)
# Odd, so that one of two processes is padded.
IMAGES = 41


def random_scene(rng, image):
    """The sample of an image: objects, and detections near them and elsewhere."""
    count, extra = rng.integers(0, 7), rng.integers(0, 4)
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack((corners, corners + rng.uniform(5, 40, (count, 2))))
    found = np.concatenate((
        np.repeat(boxes, 2, axis=0) + rng.normal(0, 3, (2 * count, 4)),
        np.sort(rng.uniform(0, 100, (extra, 2, 2)), axis=1).reshape(-1, 4)))
    scores = rng.permutation(len(found)) / len(found)
    missing = rng.random((count, 3)) < .3
    return dict(
        img_id=image,
        instances=[dict(
            bbox=box.tolist(), bbox_label=int(rng.integers(2)), ignore_flag=int(rng.random() < .1),
            attributes=dict(
                ripeness=NAN if hidden[0] else int(rng.integers(3)),
                # Nothing is cut, so that the label does not count for F1.
                tags=[NAN] * 4 if hidden[1] else [*rng.integers(0, 2, 3).tolist(), 0],
                age=NAN if hidden[2] else rng.normal(5, 3)))
            for box, hidden in zip(boxes, missing)],
        pred_instances=dict(
            bboxes=torch.tensor(found), scores=torch.tensor(scores),
            labels=torch.tensor(rng.integers(0, 2, len(found))),
            attribute_ripeness=torch.tensor(rng.dirichlet([1] * 3, len(found))).reshape(-1, 3),
            attribute_tags=torch.tensor(rng.random((len(found), 4)) * [1, 1, 1, .5]),
            attribute_age=torch.tensor(rng.normal(5, 3, len(found)))))


def scenes():
    rng = np.random.default_rng(3)
    return [random_scene(rng, image) for image in range(IMAGES)]


def mean(values):
    return sum(values) / len(values) if len(values) else NAN


def evaluate_slowly(samples, iou_thr=.5, score_thr=0.):
    """The metric's definition, object by object."""
    pairs = []
    for sample in samples:
        pred = {name: value.tolist() for name, value in sample['pred_instances'].items()}
        truth = [each for each in sample['instances'] if not each['ignore_flag']]
        order = sorted((i for i, score in enumerate(pred['scores']) if score > score_thr),
                       key=lambda i: -pred['scores'][i])
        matches = match_slowly(
            [pred['bboxes'][i] for i in order], [each['bbox'] for each in truth], iou_thr,
            [pred['labels'][i] for i in order], [each['bbox_label'] for each in truth])
        pairs += [({name: pred[f'attribute_{name}'][i] for name in ATTRIBUTES},
                   truth[match]['attributes']) for i, match in zip(order, matches) if match >= 0]
    figures = dict(matched=len(pairs))
    known = [(pred['ripeness'], true['ripeness']) for pred, true in pairs
             if not math.isnan(true['ripeness'])]
    figures['ripeness_objects'] = len(known)
    figures['ripeness_accuracy'] = mean([max(range(3), key=p.__getitem__) == t for p, t in known])
    known = [([value > .5 for value in pred['tags']], true['tags']) for pred, true in pairs
             if not math.isnan(true['tags'][0])]
    figures['tags_objects'] = len(known)
    accuracies, f1 = [], []
    for label in range(4):
        answers = [(pred[label], bool(true[label])) for pred, true in known]
        accuracies.append(mean([p == t for p, t in answers]))
        hits, wrong, missed = (answers.count(case) for case in (
            (True, True), (True, False), (False, True)))
        if hits + wrong + missed:
            f1.append(hits / (hits + (wrong + missed) / 2))
    figures.update(tags_accuracy=mean(accuracies), tags_f1=mean(f1))
    known = [(pred['age'], true['age']) for pred, true in pairs if not math.isnan(true['age'])]
    figures.update(age_objects=len(known), age_mae=mean([abs(p - t) for p, t in known]))
    return {f'attribute/{name}': value for name, value in figures.items()}


def run(samples, size=None, meta=META, **options):
    metric = AttributeMetric(**options)
    metric.dataset_meta = meta
    for start in range(0, len(samples), 3):
        metric.process(None, samples[start:start + 3])
    return metric.evaluate(len(samples) if size is None else size)


@pytest.mark.parametrize('options', [
    {}, dict(iou_thr=.75), dict(score_thr=.5), dict(iou_thr=.3, score_thr=.9)], ids=str)
def test_figures_of_a_loop(options):
    figures, expected = run(scenes(), **options), evaluate_slowly(scenes(), **options)
    assert figures == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in figures.values())
    assert figures['attribute/matched'] > figures['attribute/age_objects'] > 0


def test_some_attributes_only():
    samples = scenes()
    for sample in samples:
        del sample['pred_instances']['attribute_tags']
    expected = evaluate_slowly(scenes())
    assert run(samples, attributes=['ripeness', 'age']) == pytest.approx({
        name: value for name, value in expected.items() if 'tags' not in name}, abs=1e-12)


def _one_of_two(folder):
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    samples = scenes()
    padded = samples + samples[:1]
    figures = run(padded[rank::2], size=IMAGES)
    (folder / f'{rank}.json').write_text(json.dumps(figures))
    torch.distributed.destroy_process_group()


def test_two_processes_give_what_one_gives(tmp_path):
    processes.run_two(_one_of_two, tmp_path)
    for rank in range(2):
        assert json.loads((tmp_path / f'{rank}.json').read_text()) == pytest.approx(
            run(scenes()), abs=1e-12)


def test_nothing_found_or_annotated():
    samples = scenes()
    for sample in samples[::2]:
        sample['instances'] = []
    for sample in samples[1::2]:
        sample['pred_instances'] = {
            name: value[:0] for name, value in sample['pred_instances'].items()}
    figures = run(samples)
    assert {name for name, value in figures.items() if math.isnan(value)} == {
        f'attribute/{name}' for name in (
            'ripeness_accuracy', 'tags_accuracy', 'tags_f1', 'age_mae')}
    assert all(value == 0 for value in figures.values() if not math.isnan(value))


def test_the_table_says_what_a_constant_answer_reaches(tmp_path):
    log = tmp_path / 'log.txt'
    MMLogger.get_instance('attribute_metric', log_file=str(log))
    sample = dict(
        img_id=1,
        instances=[dict(bbox=[20 * i, 0, 20 * i + 10, 30], bbox_label=0, ignore_flag=0,
                        attributes=dict(ripeness=int(i > 0), tags=[NAN] * 4, age=[1, 2, 9][i]))
                   for i in range(3)],
        pred_instances=dict(
            bboxes=torch.tensor([[20. * i, 0, 20 * i + 10, 30] for i in range(2)]),
            scores=torch.tensor([.5, .9]), labels=torch.zeros(2).long(),
            attribute_ripeness=torch.tensor([[.6, .2, .2], [.5, .1, .4]]),
            attribute_tags=torch.zeros(2, 4), attribute_age=torch.tensor([2., 4])))
    run([sample])
    text = log.read_text()
    assert ('attributes of the 2 of 3 objects that were matched (IoU of at least 0.5, scores '
            'above 0.0); "constant" always answers') in text
    rows = [line.split() for line in text.splitlines()]
    for row in (['ripeness', 'class', '2', 'accuracy', '0.5000', '0.5000'],
                ['tags', 'multi_label', '0', 'accuracy', '-', '-'],
                ['age', 'number', '2', 'mae', '1.5000', '0.5000']):
        assert row in rows


@pytest.mark.parametrize('options, message', [
    (dict(iou_thr=0), r'iou_thr = 0 must be in \(0, 1\]'),
    (dict(attributes=['ripness']), r"evaluates 'ripness', but the data set has the attributes "
     r"\['ripeness', 'tags', 'age'\]"),
    (dict(meta=dict(classes=('apple', ))), r"evaluates 'attributes', but the data set has the "
     r'attributes \[\]: describe them in metainfo.attributes'),
])
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        run(scenes(), **options)


def without(key):
    def change(sample):
        del sample[key]
    return change


def predict(**fields):
    return lambda sample: sample['pred_instances'].update(fields)


@pytest.mark.parametrize('change, message', [
    (without('instances'), 'no annotated attributes for image 1: test on a mmdet_centernet.Coco'),
    (lambda sample: sample['instances'][0].pop('attributes'), 'no annotated attributes for'),
    (lambda sample: sample['pred_instances'].pop('attribute_age'), 'the model does not predict '
     r"attribute_age, which AttributeMetric evaluates: add dict\(type='mmdet_centernet.Attri"),
    (predict(attribute_ripeness=torch.zeros(1, 4)), r'attribute_ripeness of shape \(1, 4\), but'),
    (predict(attribute_age=torch.zeros(1, 1)), r'attribute_age of shape \(1, 1\), but the data'),
    (predict(attribute_age=torch.tensor([NAN])), 'attribute_age that are not finite numbers for '
     'image 1: its training diverged'),
])
def test_samples_that_cannot_be_evaluated(change, message):
    sample = dict(
        img_id=1, instances=[dict(bbox=[0, 0, 9, 9], bbox_label=0, ignore_flag=0, attributes=dict(
            ripeness=0, tags=[0] * 4, age=1))],
        pred_instances=dict(
            bboxes=torch.tensor([[0., 0, 9, 9]]), scores=torch.ones(1),
            labels=torch.zeros(1).long(), attribute_ripeness=torch.full((1, 3), 1 / 3),
            attribute_tags=torch.zeros(1, 4), attribute_age=torch.ones(1)))
    assert run([sample])['attribute/matched'] == 1
    change(sample)
    with pytest.raises(UserError, match=message):
        run([sample])


RESIZE = dict(type='mmdet_centernet.CenterResize', size=(64, 160))
ANNOTATE = dict(type='mmdet.LoadAnnotations', with_bbox=True)
ATTRIBUTE = dict(type='mmdet_centernet.LoadAttributes')


@pytest.mark.parametrize('steps', [
    [RESIZE], [RESIZE, ANNOTATE, ATTRIBUTE], [ANNOTATE, ATTRIBUTE, RESIZE],
    [ANNOTATE, dict(type='mmdet.Resize', scale=(300, 100), keep_ratio=False)]], ids=len)
def test_no_pipeline_shifts_the_truth_and_coco_metric_stands_beside(tmp_path, steps):
    """Images are wider than high, and fitted into an input that is higher than wide."""
    boxes = [[10, 20, 30, 15], [100, 60, 50, 30], [60, 5, 12, 80]]  # xywh
    cv2.imwrite(str(tmp_path / '1.png'), np.zeros((90, 160, 3), np.uint8))
    (tmp_path / 'ann.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='1.png', width=160, height=90)],
        categories=[dict(id=1, name='apple'), dict(id=2, name='pear')],
        annotations=[dict(id=i + 1, image_id=1, category_id=1 + i % 2, iscrowd=0, bbox=box,
                          area=box[2] * box[3], attributes=dict(ripeness='ripe', age=i))
                     for i, box in enumerate(boxes)])))
    init_default_scope('mmdet')
    attributes = dict(ripeness=ATTRIBUTES['ripeness'], age='number')
    dataset = CocoDataset(
        data_root=str(tmp_path), ann_file='ann.json', data_prefix=dict(img=''), test_mode=True,
        metainfo=dict(classes=('apple', 'pear'), attributes=attributes),
        pipeline=[dict(type='mmdet_centernet.LoadImage'), *steps,
                  dict(type='mmdet_centernet.PackInputs')])
    sample = dataset[0]['data_samples']
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]).float()
    sample.pred_instances = InstanceData(
        bboxes=corners, scores=torch.tensor([.9, .8, .7]), labels=torch.tensor([0, 1, 0]),
        attribute_ripeness=torch.tensor([[.1, .8, .1]] * 3),
        attribute_age=torch.tensor([0, 1, 2.5]))
    evaluator = Evaluator([
        dict(type='mmdet.CocoMetric', ann_file=str(tmp_path / 'ann.json'), metric='bbox'),
        dict(type='mmdet_centernet.AttributeMetric', iou_thr=.99)])
    evaluator.dataset_meta = dataset.metainfo
    evaluator.process([sample])
    figures = evaluator.evaluate(1)
    assert figures['coco/bbox_mAP'] == pytest.approx(1, abs=1e-3)
    assert figures['attribute/matched'] == 3
    assert figures['attribute/ripeness_accuracy'] == 1
    assert figures['attribute/age_mae'] == pytest.approx(.5 / 3)
