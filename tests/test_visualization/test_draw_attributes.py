"""Attributes as text, and where CenterNetLocalVisualizer writes them."""
import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_centernet.registry import VISUALIZERS
from mmdet_centernet.visualization import CenterNetLocalVisualizer, PoseLocalVisualizer, panels
from mmdet_centernet.visualization.attributes import attribute_lines

NAN = float('nan')
META = dict(
    classes=('apple', 'pear'), palette=[(255, 255, 0), (0, 0, 255)], attributes=dict(
        ripeness=dict(kind='class', values=['green', 'ripe']), age=dict(kind='number'),
        tags=dict(kind='multi_label', values=['wet', 'large'])))
GRAY = 100
BOXES = [[20., 30, 150, 170], [200, 60, 300, 160], [250, 5, 262, 15]]


def instances(**fields):
    return InstanceData(bboxes=torch.tensor(BOXES), labels=torch.tensor([0, 1, 0]), **fields)


def annotated():
    return DetDataSample(gt_instances=instances(
        attribute_ripeness=torch.tensor([1, NAN, 0]), attribute_age=torch.tensor([3.44, 7, NAN]),
        attribute_tags=torch.tensor([[1., 1], [0, 0], [NAN, NAN]])))


def predicted():
    return DetDataSample(pred_instances=instances(
        scores=torch.tensor([.95, .875, .2]).half(),
        attribute_ripeness=torch.tensor([[.07, .93], [.75, .25], [1, 0]]),
        attribute_age=torch.tensor([3.44, 1234, 2]),
        attribute_tags=torch.tensor([[.75, .625], [.25, .375], [0, 0]])))


def draw(sample, meta=META, **options):
    made = CenterNetLocalVisualizer()
    made.dataset_meta = meta
    made.add_datasample('name', np.full((180, 320, 3), GRAY, np.uint8), sample, **options)
    return made.get_image().astype(int)


@pytest.fixture
def written(monkeypatch):
    """The texts that are drawn."""
    texts = []
    draw_boxes = panels.draw_boxes
    monkeypatch.setattr(
        'mmdet_centernet.visualization.local_visualizer.draw_boxes',
        lambda axes, bboxes, colors, zoom, lines, *options: (
            texts.append(lines), draw_boxes(axes, bboxes, colors, zoom, lines, *options)))
    return texts


@pytest.mark.parametrize('named, line', [
    (dict(value='ripe', score=.934), 'ripe .93'),
    (dict(value='ripe', score=1.), 'ripe 1.00'),
    (dict(value='ripe'), 'ripe'),
    (dict(value='true', score=.5), 'x true .50'),
    (dict(value='2', score=.5), 'x 2 .50'),
    (dict(value=2, score=.5), 'x 2 .50'),
    (dict(value=3.44), 'x 3.44'),
    (dict(value=-.12345), 'x -0.123'),
    (dict(value=12345.6), 'x 12346'),
    (dict(value=['wet', 'large'], score=[.9, .75]), 'x wet .90, large .75'),
    (dict(value=[], score=[]), 'x -'),
])
def test_lines(named, line):
    assert attribute_lines(dict(x=named)) == [line]


def test_lines_without_scores():
    named = dict(a=dict(value='ripe', score=.9), b=dict(value=['wet'], score=[.8]))
    assert attribute_lines(named, with_scores=False) == ['ripe', 'b wet']


def test_predictions_have_scores_and_the_truth_has_not(written):
    picture = draw(predicted())
    assert written.pop() == [
        'apple .95\nripe .93\nage 3.44\ntags wet .75, large .62',
        'pear .88\ngreen .75\nage 1234\ntags -']
    assert picture.shape == (180, 320, 3)
    draw(annotated())
    assert written.pop() == ['apple\nripe\nage 3.44\ntags wet, large', 'pear\nage 7\ntags -',
                             'apple\ngreen']


def test_texts_are_in_their_boxes_and_small_boxes_have_them_too():
    texts = (draw(annotated()) > 200).all(axis=2)  # white on gray
    ys, xs = np.nonzero(texts)
    inside = np.zeros_like(texts)
    for x1, y1, x2, y2 in BOXES[:2]:
        inside[int(y1):int(y2), int(x1):int(x2)] = True
    beyond = ~inside[ys, xs]
    assert texts[30:90, 20:150].sum() > 100 and texts[60:120, 200:300].sum() > 50
    x, y = xs[beyond], ys[beyond]  # of the small box alone
    assert len(x) > 10 and x.min() >= 250 and y.min() >= 5 and y.max() < 40


def test_a_model_without_attributes_or_data_without_them(written):
    plain = DetDataSample(pred_instances=instances(scores=torch.tensor([.95, .5, .4])))
    for meta in (META, dict(META, attributes=None), dict(classes=('apple', 'pear'))):
        draw(plain, meta)
        assert written.pop() == ['apple .95', 'pear .50', 'apple .40']
    draw(predicted(), dict(META, attributes={}))
    assert written.pop() == ['apple .95', 'pear .88']
    truth = DetDataSample(gt_instances=instances())
    draw(truth, dict(META, attributes={}))
    assert written.pop() is None


def test_nothing_found():
    sample = DetDataSample(pred_instances=predicted().pred_instances[:0],
                           gt_instances=annotated().gt_instances[:0])
    assert (draw(sample) == GRAY).all()


def test_texts_grow_with_large_images():
    heights = []
    for zoom in (1, 8):
        sample = annotated()
        sample.gt_instances = sample.gt_instances[:1]
        sample.gt_instances.bboxes *= zoom
        made = CenterNetLocalVisualizer()
        made.dataset_meta = META
        made.add_datasample('name', np.full((180 * zoom, 320 * zoom, 3), GRAY, np.uint8), sample)
        white = (made.get_image().astype(int) > 200).all(axis=2)
        heights.append(np.ptp(np.nonzero(white)[0]))
    assert heights[1] > 2 * heights[0]


def test_pictures_are_written(tmp_path):
    sample = DetDataSample(**{
        name: each for part in (annotated(), predicted()) for name, each in part.items()})
    picture = draw(sample, out_file=str(tmp_path / 'a.png'))
    assert cv2.imread(str(tmp_path / 'a.png')).shape == picture.shape == (180, 640, 3)


def test_the_visualizer_has_two_names():
    for name in ('CenterNetLocalVisualizer', 'PoseLocalVisualizer'):
        assert VISUALIZERS.get(f'mmdet_centernet.{name}') is CenterNetLocalVisualizer
    assert PoseLocalVisualizer is CenterNetLocalVisualizer
