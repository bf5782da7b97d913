"""Drawing functions."""
import cv2
import numpy as np
import pytest

from mmdet_centernet.visualization import (
    detection_panel,
    heatmap_overlay,
    heatmap_to_image,
    save_figure,
)


def bilinear(heatmap, x, y):
    """Value at continuous cell coordinates, loops over nothing, zeros outside."""
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for yy in (y0, y0 + 1):
        for xx in (x0, x0 + 1):
            if 0 <= yy < heatmap.shape[0] and 0 <= xx < heatmap.shape[1]:
                total += heatmap[yy, xx] * (1 - abs(x - xx)) * (1 - abs(y - yy))
    return total


def test_heatmap_comes_back_where_it_was_seen():
    rng = np.random.default_rng(0)
    heatmap = rng.random((9, 13)).astype(np.float32)
    homography = np.array([[0.5, 0.0, 3.0], [0.0, 0.8, -2.0], [0, 0, 1]])
    image = heatmap_to_image(heatmap, (30, 50), homography, stride=4)
    assert image.shape == (30, 50)
    for row in range(0, 30, 3):
        for column in range(0, 50, 7):
            x, y, _ = homography @ (column + 0.5, row + 0.5, 1)
            expected = bilinear(heatmap, x / 4 - 0.5, y / 4 - 0.5)
            # OpenCV interpolates in steps of a 32nd of a cell.
            assert image[row, column] == pytest.approx(expected, abs=0.07)


def test_peak_lies_on_its_cell():
    heatmap = np.zeros((8, 12), np.float32)
    heatmap[5, 7] = 1
    image = heatmap_to_image(heatmap, (32, 48), np.eye(3), stride=4)
    rows, columns = np.nonzero(image >= image.max() - 1e-6)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == (5.5 * 4, 7.5 * 4)


def test_overlay_is_grey_where_nothing_is():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    heatmap = np.zeros((20, 30))
    heatmap[4, 9] = 1
    shown = heatmap_overlay(image, heatmap)
    assert shown.dtype == np.uint8 and shown.shape == image.shape
    elsewhere = heatmap == 0
    assert np.ptp(shown[elsewhere].astype(int), axis=1).max() == 0
    assert np.ptp(shown[4, 9].astype(int)) > 50  # full heat has a colour of its own


def test_overlay_needs_one_size():
    with pytest.raises(ValueError, match=r'\(20, 30\).*\(5, 8\)'):
        heatmap_overlay(np.zeros((20, 30, 3), np.uint8), np.zeros((5, 8)))


def boxes(count, labels=None, scores=False):
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 60, (count, 2))
    result = dict(bboxes=np.hstack((corner, corner + rng.uniform(0, 40, (count, 2)))),
                  labels=np.zeros(count, np.int64) if labels is None else np.array(labels))
    if scores:
        result['scores'] = np.sort(rng.random(count))[::-1]
    return result


@pytest.mark.parametrize('num_truth, num_pred', [(0, 0), (150, 100)])
def test_panel_is_written(tmp_path, num_truth, num_pred):
    image = np.random.default_rng(2).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    figure = detection_panel(image, boxes(num_truth), boxes(num_pred, scores=True),
                             np.zeros((70, 100)), 'a title', ('tree', ))
    save_figure(figure, tmp_path / 'new' / 'panel.png')
    assert [p.name for p in (tmp_path / 'new').iterdir()] == ['panel.png']
    written = cv2.imread(str(tmp_path / 'new' / 'panel.png'))
    assert written.shape[1] > 3 * 100 and written.std() > 10


def test_captions_count_and_classes_do_not_mix():
    truth = dict(bboxes=np.array([[0, 0, 20, 20], [40, 40, 60, 60.]]), labels=np.array([0, 1]))
    pred = dict(bboxes=np.array([[0, 0, 20, 20], [40, 40, 60, 60.]]), labels=np.array([0, 0]),
                scores=np.array([0.9, 0.8]))
    figure = detection_panel(np.zeros((80, 80, 3), np.uint8), truth, pred, np.zeros((80, 80)),
                             class_names=('cat', 'dog'))
    captions = [axes.get_title(loc='left') for axes in figure.axes]
    assert captions[:2] == ['Ground truth: 2 boxes', 'Predictions: 2 boxes, 1 right, 1 missed']
    assert [text.get_text() for text in figure.axes[1].texts] == ['cat .80', 'cat .90']
