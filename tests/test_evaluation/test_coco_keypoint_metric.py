"""OKS AP: pycocotools' own figures, whatever the skeleton, the ids and the processes."""
import copy
import json
import math
import os

import numpy as np
import processes
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_centernet.errors import UserError
from mmdet_centernet.evaluation import CocoKeypointMetric, coco_keypoint_metric

# Odd, so that one of two processes is padded.
IMAGES = 201
SIDE = 300
NAMES = dict(
    keypoints=['AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)',
               'AR (L)'],
    bbox=['bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_75', 'bbox_mAP_s', 'bbox_mAP_m', 'bbox_mAP_l'])
OWN_SIGMAS = [.03, .05, .08, .1, .11, .02]
META = dict(classes=('heron', 'crane'), num_keypoints=6, sigmas=OWN_SIGMAS)


def random_scenes(num_keypoints, num_classes, seed, image_id=lambda index: index):
    """Annotations with crowds, unlabelled people and empty images, and predictions of them.

    Predictions are displaced truths and inventions, up to 28 in an image, with scores of two
    decimals (so that many are equal); some images have none.

    Returns:
        tuple[dict, list[dict]]: the annotation file's content, and a data sample an image.
    """
    rng = np.random.default_rng(seed)
    annotations, samples = [], []
    for index in rng.permutation(IMAGES).tolist():
        keypoints, boxes, labels = [], [], []
        for _ in range(rng.integers(0, 5)):
            side = rng.uniform(20, 160, 2)
            corner = rng.uniform(0, SIDE - side)
            points = corner + rng.random((num_keypoints, 2)) * side
            visible = rng.choice(3, num_keypoints) * (rng.random() < .8)
            label = int(rng.integers(num_classes))
            annotations.append(dict(
                id=len(annotations) + 1, image_id=image_id(index), category_id=3 * label + 2,
                bbox=[*corner.tolist(), *side.tolist()], area=float(side.prod() * .6),
                iscrowd=int(rng.random() < .1), num_keypoints=int((visible > 0).sum()),
                keypoints=np.column_stack(
                    [points * (visible > 0)[:, None], visible]).ravel().tolist()))
            for _ in range(rng.integers(0, 8)):
                keypoints.append(points + rng.normal(0, rng.uniform(0, 12), points.shape))
                boxes.append([*corner + rng.normal(0, 6, 2), *corner + side])
                labels.append(label if rng.random() < .9 else int(rng.integers(num_classes)))
        count = len(labels)
        samples.append(dict(img_id=image_id(index), pred_instances=dict(
            bboxes=torch.tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32),
            scores=torch.tensor(rng.random(count).round(2), dtype=torch.float32),
            labels=torch.tensor(labels, dtype=torch.int64),
            keypoints=torch.tensor(
                np.array(keypoints).reshape(-1, num_keypoints, 2), dtype=torch.float32),
            keypoint_scores=torch.tensor(
                rng.random((count, num_keypoints)), dtype=torch.float32))))
    return dict(
        images=[dict(id=sample['img_id']) for sample in samples],
        categories=[dict(id=3 * label + 2, name=name)
                    for label, name in enumerate(META['classes'][:num_classes])],
        annotations=annotations), samples


def own_scenes():
    return random_scenes(len(OWN_SIGMAS), 2, seed=0)


@pytest.fixture(scope='module')
def own():
    return own_scenes()


@pytest.fixture
def evaluate(tmp_path):
    """``evaluate(content, samples, meta)`` writes the file and runs the metric on it."""
    def evaluate(content, samples, meta=META, **options):
        path = tmp_path / 'ann.json'
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        metric = CocoKeypointMetric(str(path), **options)
        metric.dataset_meta = meta
        for start in range(0, len(samples), 3):
            metric.process(None, samples[start:start + 3])
        return metric.evaluate(len(samples))
    return evaluate


def by_hand(annotations, results, kind, sigmas=None):
    """pycocotools' figures of two files."""
    truth = COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), kind)
    if sigmas is not None:
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {f'coco/{name}': float(value) for name, value in zip(NAMES[kind], evaluation.stats)}


def one(keypoints, truth=None, score=.5, image_id=7, area=900., box=(10, 10, 40, 30), **more):
    """A file with one object, and a prediction of it.

    Args:
        keypoints (array[K, 2]): predicted, px.
        truth (array[K, 3]): labelled, by default what is predicted.
        **more: what the annotation has besides.
    """
    keypoints = np.array(keypoints, dtype=float)
    if truth is None:
        truth = np.column_stack([keypoints, np.full(len(keypoints), 2)])
    annotation = dict(dict(
        id=1, image_id=image_id, category_id=2, bbox=list(box), area=area, iscrowd=0,
        keypoints=np.ravel(truth).tolist()), **more)
    content = dict(images=[dict(id=image_id)], annotations=[annotation],
                   categories=[dict(id=2, name='heron'), dict(id=5, name='crane')])
    samples = [dict(img_id=image_id, pred_instances=dict(
        bboxes=torch.tensor([[10., 10, 50, 40]]), scores=torch.tensor([score]),
        labels=torch.tensor([0]), keypoints=torch.tensor(keypoints)[None].float(),
        keypoint_scores=torch.full((1, len(keypoints)), .25)))]
    return content, samples


POINTS = [[12, 13], [20, 30], [31, 12], [45, 39], [40, 20], [25, 25]]


def test_pycocotools_figures_to_the_last_digit(own, evaluate, tmp_path):
    content, samples = own
    assert sum(annotation['iscrowd'] for annotation in content['annotations']) > 20
    assert sum(not annotation['num_keypoints'] for annotation in content['annotations']) > 50
    assert max(len(sample['pred_instances']['scores']) for sample in samples) > 20
    figures = evaluate(content, samples, metric=['keypoints', 'bbox'],
                       outfile_prefix=str(tmp_path / 'out' / 'found'))
    expected = dict(
        by_hand(tmp_path / 'ann.json', tmp_path / 'out' / 'found.keypoints.json', 'keypoints',
                OWN_SIGMAS),
        **by_hand(tmp_path / 'ann.json', tmp_path / 'out' / 'found.bbox.json', 'bbox'))
    assert figures == expected
    assert list(figures) == list(expected)
    assert all(0 < value < 1 for value in figures.values())


def test_cocos_person_has_the_sigmas_that_pycocotools_has(evaluate, tmp_path):
    content, samples = random_scenes(17, 1, seed=1, image_id='{:03d}.jpg'.format)
    sigmas = COCOeval(iouType='keypoints').params.kpt_oks_sigmas
    figures = evaluate(content, samples, meta=dict(META, classes=('heron', ), num_keypoints=17),
                       sigmas=sigmas, outfile_prefix=str(tmp_path / 'found'))
    expected = by_hand(tmp_path / 'ann.json', tmp_path / 'found.keypoints.json', 'keypoints')
    assert figures == expected
    assert .1 < figures['coco/AP'] < .9


def test_results_in_the_format_of_the_server(own, evaluate, tmp_path):
    content, samples = dict(own[0]), own[1]
    del content['annotations']
    assert evaluate(content, samples, meta=dict(classes=META['classes'], num_keypoints=6),
                    sigmas=OWN_SIGMAS, format_only=True, metric=['bbox', 'keypoints'],
                    outfile_prefix=str(tmp_path / 'found')) == {}
    poses = json.loads((tmp_path / 'found.keypoints.json').read_text())
    boxes = json.loads((tmp_path / 'found.bbox.json').read_text())
    flat = [(sample['img_id'], *values) for sample in samples for values in zip(*(
        sample['pred_instances'][key].tolist()
        for key in ('labels', 'scores', 'bboxes', 'keypoints', 'keypoint_scores')))]
    assert len(flat) == len(poses) == len(boxes) > 500
    for (image_id, label, score, box, points, point_scores), pose, boxed in zip(
            flat, poses, boxes):
        shared = dict(image_id=image_id, category_id=(2, 5)[label], score=score)
        assert pose == dict(shared, keypoints=[
            number for (x, y), point_score in zip(points, point_scores)
            for number in (x, y, point_score)])
        x1, y1, x2, y2 = box
        assert boxed == dict(shared, bbox=[x1, y1, x2 - x1, y2 - y1])


def slow_oks(predicted, truth, area, sigmas):
    """Object keypoint similarity of one pair, by its definition (cocodataset.org)."""
    total, labelled = 0., 0
    for (x, y), (true_x, true_y, visible), sigma in zip(predicted, truth, sigmas):
        if visible:
            labelled += 1
            distance = math.hypot(x - true_x, y - true_y)
            total += math.exp(-distance ** 2 / (2 * area * (2 * sigma) ** 2))
    return total / labelled


@pytest.mark.parametrize('own_sigmas', [True, False])
@pytest.mark.parametrize('seed', range(4))
def test_a_pair_is_found_up_to_its_oks(seed, own_sigmas, evaluate):
    rng = np.random.default_rng(seed)
    sigmas = rng.uniform(.02, .2, 6).tolist()
    points = rng.uniform(0, 100, (6, 2))
    visible = np.array([2, 0, 1, 2, 0, 1])
    area = float(rng.uniform(1100, 3000))
    predicted = (points + rng.normal(0, 1 + seed, points.shape)).astype(np.float32)
    predicted[visible == 0] += 500
    truth = np.column_stack([points, visible])
    oks = slow_oks(predicted.tolist(), truth.tolist(), area, sigmas)
    content, samples = one(predicted, truth, area=area)
    figures = evaluate(content, samples, sigmas=sigmas if own_sigmas else None,
                       meta=META if own_sigmas else dict(META, sigmas=sigmas))
    assert .5 < oks < .98
    passed = [oks >= threshold for threshold in np.arange(50, 100, 5) / 100]
    assert figures['coco/AP'] == pytest.approx(sum(passed) / 10)
    assert figures['coco/AP .75'] == pytest.approx(float(passed[5]))
    assert figures['coco/AR'] == figures['coco/AR (M)'] == pytest.approx(sum(passed) / 10)
    # There is no large object.
    assert figures['coco/AP (L)'] == figures['coco/AR (L)'] == -1


def _one_of_two(folder):
    torch.distributed.init_process_group('gloo')
    rank, (_, samples) = int(os.environ['RANK']), own_scenes()
    metric = CocoKeypointMetric(
        f'{folder}/ann.json', outfile_prefix=f'{folder}/both', collect_dir=f'{folder}/parts')
    metric.dataset_meta = META
    # As the sampler deals: in turn, and from the start again to give both as many.
    metric.process(None, (samples + samples[:1])[rank::2])
    (folder / f'{rank}.json').write_text(json.dumps(metric.evaluate(len(samples))))
    torch.distributed.destroy_process_group()


def test_two_processes_give_what_one_gives(own, evaluate, tmp_path):
    content, samples = own
    alone = evaluate(content, samples, outfile_prefix=str(tmp_path / 'alone'))
    processes.run_two(_one_of_two, tmp_path)
    assert [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2)] == [
        alone, alone]
    assert (tmp_path / 'both.keypoints.json').read_text() == (
        tmp_path / 'alone.keypoints.json').read_text()


@pytest.mark.parametrize('ids', [
    [4, 7], ['b', 'a'], ['7', 7], [0, 10 ** 12]])
def test_image_ids_of_any_kind(ids, evaluate):
    content, samples = one(POINTS, image_id=ids[0])
    more, other = one(POINTS, image_id=ids[1])
    content['images'] += more['images']
    content['annotations'] += [dict(more['annotations'][0], id=2)]
    assert evaluate(content, samples + other)['coco/AP'] == pytest.approx(1)
    assert evaluate(content, samples)['coco/AP'] == pytest.approx(.5, abs=.01)


def test_an_annotation_of_id_0_can_be_found(evaluate):
    content, samples = one(POINTS, id=0)
    assert evaluate(content, samples)['coco/AP'] == pytest.approx(1)
    content, samples = one(POINTS, id='first')
    assert evaluate(content, samples)['coco/AP'] == pytest.approx(1)


def test_what_the_file_leaves_out_is_filled_in(evaluate):
    content, samples = one(POINTS)
    del content['annotations'][0]['iscrowd']
    assert 'num_keypoints' not in content['annotations'][0]
    assert evaluate(content, samples)['coco/AP'] == pytest.approx(1)
    # Nothing is labelled: there is nobody to find, and nobody is found in vain.
    content['annotations'][0]['keypoints'][2::3] = [0] * 6
    assert evaluate(content, samples)['coco/AP'] == -1
    # Nor is it looked at if it is another class's, or of an image that is not there.
    for other in (dict(category_id=5), dict(image_id=8)):
        odd = dict(dict(id=2, image_id=7, category_id=2), **other)
        assert evaluate(dict(content, annotations=[*content['annotations'], odd]), samples,
                        meta=dict(META, classes=('heron', )))['coco/AP'] == -1


@pytest.mark.parametrize('metric', ['keypoints', 'bbox'])
def test_no_prediction_at_all(metric, evaluate, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(coco_keypoint_metric, 'print_log',
                        lambda text, **kwargs: said.append(text))
    content, samples = one(POINTS, area=1500.)
    none = {key: value[:0] for key, value in samples[0]['pred_instances'].items()}
    figures = evaluate(content, [dict(samples[0], pred_instances=none)], metric=metric,
                       outfile_prefix=str(tmp_path / 'found'))
    assert figures[f'coco/{NAMES[metric][0]}'] == 0
    assert figures[f'coco/{NAMES[metric][-1]}'] == -1
    assert (tmp_path / f'found.{metric}.json').read_text() == '[]'
    assert any('nothing at all was predicted for the 1 images' in text for text in said)


def test_the_table_is_logged(own, evaluate, capsys, tmp_path):
    log = tmp_path / 'log.txt'
    MMLogger.get_instance('keypoint_metric', log_file=str(log))
    figures = evaluate(*own)
    assert (' Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets= 20 ] = '
            f'{figures["coco/AP"]:0.3f}') in log.read_text()
    assert 'creating index' not in capsys.readouterr().out


def test_a_config_names_it(own, tmp_path):
    content, samples = own
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    config = Config.fromstring(
        "default_scope = 'mmdet'\n"
        "val_evaluator = dict(type='mmdet_centernet.CocoKeypointMetric', "
        f"ann_file={str(tmp_path / 'ann.json')!r}, prefix='birds')", '.py')
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = META
    evaluator.process(samples)
    assert set(evaluator.evaluate(len(samples))) == {f'birds/{n}' for n in NAMES['keypoints']}


FROG_SIGMAS = [.06, .04, .09, .07]
MIXED_META = dict(
    classes=('heron', 'frog', 'leaf'), num_keypoints=6, skeletons=dict(
        heron=dict(num_keypoints=6, sigmas=OWN_SIGMAS),
        frog=dict(num_keypoints=4, sigmas=FROG_SIGMAS)))


@pytest.fixture(scope='module')
def mixed():
    """Herons of 6 keypoints, frogs of 4, leaves without; some of each are without them."""
    content, samples = random_scenes(6, 3, seed=4)
    content['categories'] = [
        dict(id=3 * label + 2, name=name) for label, name in enumerate(MIXED_META['classes'])]
    for number, annotation in enumerate(content['annotations']):
        if annotation['category_id'] == 8 or number % 7 == 0:
            del annotation['keypoints'], annotation['num_keypoints']
        elif annotation['category_id'] == 5:
            keypoints = annotation['keypoints'][:12]
            annotation.update(
                keypoints=keypoints, num_keypoints=sum(flag > 0 for flag in keypoints[2::3]))
    for sample in samples:
        predicted = sample['pred_instances']
        for label, count in ((1, 4), (2, 0)):  # as a head with several skeletons pads them
            predicted['keypoints'][predicted['labels'] == label, count:] = 0
            predicted['keypoint_scores'][predicted['labels'] == label, count:] = 0
    return content, samples


def precisions_by_hand(content, samples, category_id, sigmas, folder):
    """pycocotools' precision and recall of one class, from files that have it alone."""
    count = len(sigmas)
    truth = [dict(dict(keypoints=[0] * 3 * count, num_keypoints=0), **annotation)
             for annotation in content['annotations'] if annotation['category_id'] == category_id]
    found = []
    for sample in samples:
        predicted = sample['pred_instances']
        for row in (predicted['labels'] == (category_id - 2) // 3).nonzero().flatten().tolist():
            triples = [[*point, score] for point, score in zip(
                predicted['keypoints'][row].tolist(), predicted['keypoint_scores'][row].tolist())]
            found.append(dict(
                image_id=sample['img_id'], category_id=category_id,
                keypoints=sum(triples[:count], []), score=float(predicted['scores'][row])))
    for name, value in (('truth', dict(content, annotations=truth)), ('found', found)):
        (folder / f'{name}.json').write_text(json.dumps(value))
    truth = COCO(str(folder / 'truth.json'))
    evaluation = COCOeval(truth, truth.loadRes(str(folder / 'found.json')), 'keypoints')
    evaluation.params.catIds = [category_id]
    evaluation.params.kpt_oks_sigmas = np.array(sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats, evaluation.eval['precision'], evaluation.eval['recall']


def test_each_class_has_pycocotools_figures_by_its_own_sigmas(
        mixed, evaluate, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(coco_keypoint_metric, 'print_log',
                        lambda text, **kwargs: said.append(text))
    figures = evaluate(*mixed, meta=MIXED_META, classwise=True)
    hands = {name: precisions_by_hand(*mixed, category_id, sigmas, tmp_path)
             for name, category_id, sigmas in (('heron', 2, OWN_SIGMAS), ('frog', 5, FROG_SIGMAS))}
    assert set(figures) == {f'coco/{prefix}{key}' for key in NAMES['keypoints']
                            for prefix in ('', 'heron_', 'frog_')}
    for name, (stats, _, _) in hands.items():
        assert [figures[f'coco/{name}_{key}'] for key in NAMES['keypoints']] == stats.tolist()
        assert 0 < stats[0] < 1 and stats[3] != stats[4]
        row = next(line for line in said[-1].splitlines() if line.startswith(name))
        assert row.split()[1:] == [f'{value:.3f}' for value in stats]
    # Averages of what is defined, over both classes.
    together = np.concatenate([precision[..., 0, 0] for _, precision, _ in hands.values()], -1)
    assert figures['coco/AP'] == pytest.approx(together[together > -1].mean(), rel=1e-12)
    recall = np.concatenate([recall[..., 0, 0] for _, _, recall in hands.values()], -1)
    assert figures['coco/AR'] == pytest.approx(recall[recall > -1].mean(), rel=1e-12)
    assert 'leaf' not in said[-1]
    # Without the option only the log has them.
    assert set(evaluate(*mixed, meta=MIXED_META)) == {f'coco/{key}' for key in NAMES['keypoints']}


def test_sigmas_by_class(mixed, evaluate):
    expected = evaluate(*mixed, meta=MIXED_META, classwise=True)
    meta = dict(MIXED_META, skeletons={
        name: dict(skeleton, sigmas=[.01] * skeleton['num_keypoints'])
        for name, skeleton in MIXED_META['skeletons'].items()})
    found = evaluate(*mixed, meta=meta, classwise=True, sigmas=dict(frog=FROG_SIGMAS))
    assert found['coco/frog_AP'] == expected['coco/frog_AP']
    assert found['coco/heron_AP'] < 0.5 * expected['coco/heron_AP']


def test_the_results_file_has_each_class_as_its_category_has_it(mixed, evaluate, tmp_path):
    evaluate(*mixed, meta=MIXED_META, outfile_prefix=str(tmp_path / 'found'))
    lengths = {(record['category_id'], len(record['keypoints']))
               for record in json.loads((tmp_path / 'found.keypoints.json').read_text())}
    assert lengths == {(2, 18), (5, 12)}


def test_classes_without_keypoints_are_left_to_the_metric_of_boxes(mixed, tmp_path):
    """Both in one list of evaluators; annotations without keypoints are no poses missed."""
    content, samples = mixed
    (tmp_path / 'ann.json').write_text(json.dumps(content))
    samples = [dict(sample, ori_shape=(SIDE, SIDE)) for sample in samples]
    kinds = [dict(type='mmdet_centernet.CocoKeypointMetric'), dict(type='mmdet.CocoMetric')]
    evaluator = Evaluator([dict(kind, ann_file=str(tmp_path / 'ann.json')) for kind in kinds])
    evaluator.dataset_meta = MIXED_META
    evaluator.process(samples)
    figures = evaluator.evaluate(len(samples))
    assert {f'coco/{name}' for name in NAMES['keypoints'] + NAMES['bbox']} == set(figures)
    both = CocoKeypointMetric(str(tmp_path / 'ann.json'), metric=['keypoints', 'bbox'])
    both.dataset_meta = MIXED_META
    both.process(None, samples)
    again = both.evaluate(len(samples))
    for name in NAMES['keypoints']:
        assert again[f'coco/{name}'] == figures[f'coco/{name}']
    for name in NAMES['bbox']:  # mmdet rounds them
        assert again[f'coco/{name}'] == pytest.approx(figures[f'coco/{name}'], abs=5.1e-4)


def test_predictions_of_classes_without_keypoints_are_no_poses(mixed, evaluate):
    """Nor do poses of other classes than the annotated count as theirs."""
    content, samples = mixed
    expected = evaluate(content, samples, meta=MIXED_META)
    without = copy.deepcopy(samples)
    for sample in without:
        kept = sample['pred_instances']['labels'] != 2
        sample['pred_instances'] = {
            key: value[kept] for key, value in sample['pred_instances'].items()}
    assert evaluate(content, without, meta=MIXED_META) == expected
    leaves = [dict(annotation, area=None, bbox=None) if annotation['category_id'] == 8
              else annotation for annotation in content['annotations']]
    assert evaluate(dict(content, annotations=leaves), samples, meta=MIXED_META) == expected


@pytest.mark.parametrize('change, reason', [
    (dict(category_id=5), 'has 18 numbers for keypoints, not x, y and visibility of 4'),
    (dict(category_id=8), 'no annotation of .* has keypoints'),
])
def test_mixed_annotations_of_no_use(change, reason, evaluate):
    content, samples = one(POINTS)
    content['categories'] = [dict(id=3 * label + 2, name=name)
                             for label, name in enumerate(MIXED_META['classes'])]
    other = dict(id=2, image_id=7, category_id=2, bbox=[1, 2, 3, 4], area=5.)
    content['annotations'][0].update(change)
    content['annotations'].append(other)
    with pytest.raises(UserError, match=reason):
        evaluate(content, samples, meta=MIXED_META)


@pytest.mark.parametrize('change, reason', [
    (dict(keypoints=None), 'no annotation of .*ann.json has keypoints: .*person_keypoints_'),
    (dict(keypoints=[1, 2, 2] * 5), 'has 15 numbers for keypoints, not .* of 6: '),
    (dict(area=None), r'annotation 1 of .* has no area, .* 0\.53 \* width \* height'),
    (dict(area=float('nan')), 'has no area'),
    (dict(bbox=[1, 2, 3]), r'has the bbox \[1, 2, 3\]: write x, y, width and height'),
])
def test_annotations_of_no_use(change, reason, evaluate):
    content, samples = one(POINTS)
    content['annotations'][0].update(change)
    with pytest.raises(UserError, match=reason):
        evaluate(content, samples)


def test_an_annotation_without_keypoints_has_none_labelled(own, evaluate):
    """Some of a file's may be without; their people are ignored, as crowds are."""
    content, samples = own
    unlabelled, without = copy.deepcopy(content), copy.deepcopy(content)
    for index in range(0, len(content['annotations']), 3):
        unlabelled['annotations'][index].update(keypoints=[0] * 18, num_keypoints=0)
        for key in ('keypoints', 'num_keypoints'):
            del without['annotations'][index][key]
    expected = evaluate(unlabelled, samples)
    assert evaluate(without, samples) == expected != evaluate(content, samples)


@pytest.mark.parametrize('content, reason', [
    ('{"images": [', 'ann.json of CocoKeypointMetric is not JSON'),
    ('[]', "not in COCO format: it has no list 'images' and no list 'categories' and no"),
    (dict(images=[], categories=[]), "it has no list 'annotations'"),
    (dict(images=[], categories=[dict(id=1, name='heron')], annotations=[]),
     r"class 'crane' of the data set is missing from the categories \['heron'\] of .*ann.json"),
])
def test_files_of_no_use(content, reason, evaluate):
    with pytest.raises(UserError, match=reason):
        evaluate(content, [])


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match='none.json of CocoKeypointMetric cannot be read'):
        CocoKeypointMetric(str(tmp_path / 'none.json'))


@pytest.mark.parametrize('options, meta, reason', [
    (dict(metric='segm'), {}, "metric = 'segm' must be 'keypoints', 'bbox' or a list of both"),
    (dict(metric=[]), {}, 'must be'),
    (dict(format_only=True), {}, 'set outfile_prefix'),
    (dict(sigmas=[.1] * 5), {}, "5 sigmas, but 'heron' in the data set of .* has 6 keypoints"),
    ({}, dict(sigmas=None), 'has no sigmas, and the data set of .* brings none'),
    (dict(sigmas=[.1, .1, 0, .1, .1, .1]), {}, 'must be positive'),
    (dict(sigmas=[.1] * 17), dict(num_keypoints=17), '18 numbers for keypoints, not .* of 17'),
])
def test_options_of_no_use(options, meta, reason, evaluate):
    with pytest.raises(UserError, match=reason):
        evaluate(*one(POINTS), meta=dict(META, **meta), **options)


def test_predictions_of_no_use(evaluate):
    content, samples = one(POINTS)
    predicted = samples[0]['pred_instances']

    def fails(reason, **change):
        sample = dict(samples[0], **change)
        with pytest.raises(UserError, match=reason):
            evaluate(content, [sample])

    fails('image 8 was tested, but .*ann.json of CocoKeypointMetric does not list it', img_id=8)
    fails('the model predicts no keypoints, .* evaluate its boxes with mmdet.CocoMetric',
          pred_instances={key: value for key, value in predicted.items() if key != 'keypoints'})
    fails('predicts 5 keypoints, but the data set of .* has 6: set .*num_keypoints=6',
          pred_instances=dict(predicted, keypoints=predicted['keypoints'][:, :5]))
    fails('not finite numbers for image 7: its training diverged',
          pred_instances=dict(predicted, keypoints=predicted['keypoints'] * math.nan))
