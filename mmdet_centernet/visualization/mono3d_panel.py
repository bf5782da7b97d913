"""Figure of 3D ground truth and predictions of one image."""
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

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
_PANEL_WIDTH, _PANEL_HEIGHT = 900, 340  # largest size of one image in the figure, px
_ASPECT = 0.8  # width of the bird's-eye view divided by its height


class _Stack(Triptych):
    """Figure of three images above each other, with room for a tall plot beside them.

    Args:
        image_shape (tuple[int, int]): (height, width) of the images, pixels.
        title (str): Title above them.
    """

    _GAP = 0.16
    _BETWEEN = 0.5  # inches, for the legend of one image and the caption of the next

    def __init__(self, image_shape: tuple[int, ...], title: str) -> None:
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

    def add(self, column: int, image: NDArray[np.uint8], caption: str) -> Axes:
        """Add an image [H, W, 3] in row 0, 1 or 2."""
        bottom = self._FOOT + (2 - column) * (self._panel[1] + self._BETWEEN)
        axes = self._axes(self._GAP, bottom, self._panel, caption)
        axes.imshow(image, interpolation='lanczos', extent=self._extent)
        axes.set_axis_off()
        return axes

    def add_beside(self, caption: str) -> Axes:
        """Add empty axes beside the images, as high as all of them."""
        return self._axes(self._panel[0] + 1.8 * self._FOOT, self._FOOT, self._beside, caption)

    def _axes(
        self, left: float, bottom: float, size: NDArray[np.float64], caption: str
    ) -> Axes:
        """Add axes at a position and of a size in inches."""
        axes = self.figure.add_axes((left / self._size[0], bottom / self._size[1],
                                     size[0] / self._size[0], size[1] / self._size[1]))
        axes.set_title(caption, fontsize=10, pad=4, loc='left')
        return axes


def mono3d_panel(
    image: NDArray[np.uint8],
    truth: dict[str, NDArray[Any]],
    pred: dict[str, NDArray[Any]],
    overlaps: NDArray[Any],
    heatmap: NDArray[Any],
    cam2img: ArrayLike,
    title: str = '',
    class_names: Sequence[str] = (),
) -> Figure:
    """Draw ground truth, predictions and heatmap of one image, and all boxes in bird's-eye view.

    A prediction is right if its bird's-eye view IoU with a box of its class is at least 0.5.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        truth (dict): ``bboxes_3d`` ndarray[M, 7] in the camera frame, ``labels`` [M].
        pred (dict): ``bboxes_3d`` ndarray[N, 7], ``labels`` [N], ``scores`` [N], best first.
        overlaps (ndarray[N, M]): Bird's-eye view IoU of each pair.
        heatmap (ndarray[H, W]): Probability of an object's center, in the image's frame
            (:func:`heatmap_to_image`).
        cam2img (ndarray[3, 4]): Camera matrix of the image.
        title (str): Title of the figure.
        class_names (Sequence[str]): Names of all classes.

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
    legend(axes, [(FOUND, 'right (BEV IoU ≥ 0.5)'), (WRONG, 'wrong')])

    panels.add_center_heatmap(image, heatmap)
    draw_birds_eye(
        panels.add_beside("Bird's-eye view"),
        [dict(bboxes_3d=truth['bboxes_3d'], colors=np.where(found, TRUTH_OUTLINE, MISSED),
              names=[(TRUTH_OUTLINE, 'ground truth, found'), (MISSED, 'ground truth, missed')]),
         dict(bboxes_3d=pred['bboxes_3d'], colors=np.where(right, FOUND, WRONG), filled=True,
              names=[(FOUND, 'predictions, right'), (WRONG, 'predictions, wrong')])],
        cam2img, image.shape[1], text_size=8)
    return panels.figure
