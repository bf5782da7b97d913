"""A panel that shows what a detector of boxes in space saw."""
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmdet_centernet.ops.matching import match_by_class
from mmdet_centernet.visualization.birds_eye import TRUTH_OUTLINE, draw_birds_eye
from mmdet_centernet.visualization.boxes_3d import draw_boxes_3d, texts_of
from mmdet_centernet.visualization.panels import (
    FOUND,
    MISSED,
    TRUTH,
    WRONG,
    Triptych,
    legend,
)

_DPI = 120
_PANEL_WIDTH, _PANEL_HEIGHT = 900, 340  # of one photo in the picture, px at most
_ASPECT = 0.8  # width of the view from above divided by its height


class _Stack(Triptych):
    """Three photos above each other, and room for a high picture beside them.

    Args:
        image_shape (tuple[int, int]): (height, width) of the photos, pixels.
        title (str): Above them.
    """

    _GAP = 0.16
    _BETWEEN = 0.5  # inches, for the legend of one photo and the caption of the next

    def __init__(self, image_shape, title):
        height, width = image_shape
        zoom = min(_PANEL_WIDTH / width, _PANEL_HEIGHT / height)
        self._extent = (0, width, height, 0)
        self._panel = np.array([width, height]) * zoom / _DPI  # inches
        stack = 3 * self._panel[1] + 2 * self._BETWEEN
        self._beside = np.array([_ASPECT * stack, stack])
        self._size = (self._panel[0] + self._beside[0] + 2.6 * self._FOOT,
                      stack + self._HEAD + self._FOOT)
        self.points_per_pixel = zoom * 72 / _DPI
        self.figure = Figure(figsize=self._size, dpi=_DPI, facecolor='white')
        FigureCanvasAgg(self.figure)
        self.figure.suptitle(
            title, fontsize=11, fontweight='bold', x=self._GAP / self._size[0], ha='left',
            y=1 - 0.09 / self._size[1], va='top')

    def add(self, column, image, caption):
        """Put a photo [H, W, 3] into row 0, 1 or 2."""
        bottom = self._FOOT + (2 - column) * (self._panel[1] + self._BETWEEN)
        axes = self._axes(self._GAP, bottom, self._panel, caption)
        axes.imshow(image, interpolation='lanczos', extent=self._extent)
        axes.set_axis_off()
        return axes

    def add_beside(self, caption):
        """Empty axes beside the photos, as high as all of them."""
        return self._axes(self._panel[0] + 1.8 * self._FOOT, self._FOOT, self._beside, caption)

    def _axes(self, left, bottom, size, caption):
        axes = self.figure.add_axes((left / self._size[0], bottom / self._size[1],
                                     size[0] / self._size[0], size[1] / self._size[1]))
        axes.set_title(caption, fontsize=10, pad=4, loc='left')
        return axes


def mono3d_panel(image, truth, pred, overlaps, heatmap, cam2img, title='', class_names=()):
    """Draw ground truth, predictions and heat map of one photo, and all boxes from above.

    A prediction is right if from above it overlaps a box of its class at least by half.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        truth (dict): ``bboxes_3d`` ndarray[M, 7] in the camera frame, ``labels`` [M].
        pred (dict): ``bboxes_3d`` ndarray[N, 7], ``labels`` [N], ``scores`` [N], best first.
        overlaps (ndarray[N, M]): Intersection over union of each pair from above.
        heatmap (ndarray[H, W]): Probability that an object's centre lies here, in the
            image's frame (:func:`heatmap_to_image`).
        cam2img (ndarray[3, 4]): Of the image.
        title (str): Above the panel.
        class_names (Sequence[str]): Of all classes.

    Returns:
        Figure: See :func:`save_figure`.
    """
    panels = _Stack(image.shape[:2], title)
    matches = match_by_class(overlaps, pred['labels'], truth['labels'])
    found = np.isin(np.arange(len(truth['labels'])), matches)
    right = matches >= 0

    axes = panels.add(0, image, f'Ground truth: {len(found)} boxes')
    draw_boxes_3d(axes, truth['bboxes_3d'], np.where(found, TRUTH, MISSED), cam2img,
                  panels.points_per_pixel,
                  texts_of(class_names, truth['labels'], truth['bboxes_3d'][:, 2]))
    legend(axes, [(TRUTH, 'found'), (MISSED, 'missed')])

    axes = panels.add(1, image, f'Predictions: {len(right)} boxes, {right.sum()} right, '
                                f'{len(found) - found.sum()} missed')
    draw_boxes_3d(axes, pred['bboxes_3d'], np.where(right, FOUND, WRONG), cam2img,
                  panels.points_per_pixel,
                  texts_of(class_names, pred['labels'], pred['bboxes_3d'][:, 2], pred['scores']))
    legend(axes, [(FOUND, 'right (IoU from above ≥ 0.5)'), (WRONG, 'wrong')])

    panels.add_center_heatmap(image, heatmap)
    draw_birds_eye(
        panels.add_beside('From above'),
        [dict(bboxes_3d=truth['bboxes_3d'], colors=np.where(found, TRUTH_OUTLINE, MISSED),
              names=[(TRUTH_OUTLINE, 'ground truth, found'), (MISSED, 'ground truth, missed')]),
         dict(bboxes_3d=pred['bboxes_3d'], colors=np.where(right, FOUND, WRONG), filled=True,
              names=[(FOUND, 'predictions, right'), (WRONG, 'predictions, wrong')])],
        cam2img, image.shape[1], text_size=8)
    return panels.figure
