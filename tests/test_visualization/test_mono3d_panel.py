"""Panels of boxes in space: who counts as found, and what is painted where."""
import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mmdet_centernet.visualization import mono3d_panel, save_figure
from mmdet_centernet.visualization.panels import FOUND, MISSED, TRUTH, WRONG

CAMERA = np.array([[480., 0, 405, 30], [0, 480, 115, 0.1], [0, 0, 1, 0.003]])
IMAGE = np.full((250, 830, 3), 100, np.uint8)
CLASSES = ('Pedestrian', 'Car')
CARS = np.array([[-3., 1.65, 10, 1.5, 1.6, 3.9, 0], [4., 1.65, 12, 1.5, 1.6, 3.9, 0.5]])


def panel(truth, pred, overlaps, labels=(1, 1), pred_labels=(1, 1), heat=None, **options):
    truth, pred = (np.reshape(boxes, (-1, 7)) for boxes in (truth, pred))
    return mono3d_panel(
        IMAGE, dict(bboxes_3d=truth, labels=np.array(labels[:len(truth)], int)),
        dict(bboxes_3d=pred, labels=np.array(pred_labels[:len(pred)], int),
             scores=np.array([0.9, 0.8])[:len(pred)]),
        np.reshape(overlaps, (len(pred), len(truth))),
        np.zeros((250, 830)) if heat is None else heat, CAMERA, class_names=CLASSES, **options)


def rendered(figure):
    """The picture, and where places of an axes are in it."""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)

    def around(axes, place):
        x, y = axes.transData.transform(place)
        column, row = int(x), int(len(picture) - y)
        return picture[row - 2:row + 3, column - 2:column + 3].reshape(-1, 3)

    return around


def has(colors, name):
    return np.abs(colors - np.array(to_rgb(name)) * 255).max(axis=1).min() < 60


def in_image(x, y, z):
    u, v, w = CAMERA @ (x, y, z, 1)
    return u / w, v / w


def test_boxes_are_matched_by_their_bev_overlap():
    figure = panel(CARS, CARS + [0.3, 0, 0, 0, 0, 0, 0], [[0.8, 0.1], [0.4, 0.49]],
                   title='000123 (val)')
    first, second, heat, above = figure.axes[:3] + figure.axes[-1:]
    captions = [axes.get_title(loc='left') for axes in (first, second, heat, above)]
    assert captions == ['Ground truth: 2 boxes', 'Predictions: 2 boxes, 1 right, 1 missed',
                        'Center heatmap', "Bird's-eye view"]
    assert {text.get_text() for text in first.texts} == {'Car 10.0 m', 'Car 12.0 m'}
    assert {text.get_text() for text in second.texts} == {'Car 0.90 10.0 m', 'Car 0.80 12.0 m'}
    around = rendered(figure)
    bottom, other = (-3, 1.65, 9.2), (4 - 0.8 * np.sin(0.5), 1.65, 12 - 0.8 * np.cos(0.5))
    assert has(around(first, in_image(*bottom)), TRUTH)
    assert has(around(first, in_image(*other)), MISSED)
    shift = (0.3, 0, 0)
    assert has(around(second, in_image(*np.add(bottom, shift))), FOUND)
    assert has(around(second, in_image(*np.add(other, shift))), WRONG)
    assert has(around(above, (-2.7, 9.2)), FOUND) and has(around(above, (-4.5, 9.2)), '#14181d')
    assert has(around(above, np.array(other)[[0, 2]]), MISSED)
    legend = [text.get_text() for text in above.get_legend().get_texts()]
    assert legend == ['ground truth, found', 'ground truth, missed', 'predictions, right',
                      'predictions, wrong']
    assert [text.get_text() for text in second.get_legend().get_texts()] == [
        'right (BEV IoU ≥ 0.5)', 'wrong']


def test_classes_do_not_mix():
    figure = panel(CARS[:1], CARS[:1], [[1.]], pred_labels=[0])
    assert figure.axes[1].get_title(loc='left').endswith('0 right, 1 missed')
    assert figure.axes[1].texts[0].get_text() == 'Pedestrian 0.90 10.0 m'


@pytest.mark.parametrize('truth, pred, counts', [
    ([], [], '0 boxes, 0 right, 0 missed'), (CARS, [], '0 boxes, 0 right, 2 missed'),
    ([], CARS, '2 boxes, 0 right, 0 missed')], ids=['neither', 'truth', 'predictions'])
def test_panel_without_truth_or_predictions(tmp_path, truth, pred, counts):
    figure = panel(truth, pred, [])
    assert figure.axes[1].get_title(loc='left') == f'Predictions: {counts}'
    save_figure(figure, tmp_path / 'panel.png')
    height, width = cv2.imread(str(tmp_path / 'panel.png')).shape[:2]
    assert 700 < height < 1200 < width < 2000


def test_the_heat_map_lies_over_the_photo():
    heat = np.zeros((250, 830))
    heat[100:110, 400:410] = 0.9
    figure = panel(CARS, CARS, np.eye(2), heat=heat)
    around, axes = rendered(figure), figure.axes[2]
    assert around(axes, (405, 105)).max() > 200 and around(axes, (200, 105)).max() < 70
