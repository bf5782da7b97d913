"""Panels of ground truth, predictions and the center heatmap, side by side."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from mmdet_centernet.ops.boxes_numpy import box_overlaps
from mmdet_centernet.ops.matching import match_by_class
from mmdet_centernet.visualization.attributes import score_text
from mmdet_centernet.visualization.heatmaps import HEAT, heatmap_overlay, top_of

# Okabe and Ito's colors, which color-blind people can distinguish.
FOUND, WRONG, MISSED = '#2fd6a3', '#ff8c1a', '#ff4fa3'
TRUTH = '#ffe14d'
_PANEL_PIXELS = 620  # width of one photo in the picture
_DPI = 120
_SMALLEST_TEXT = 4.0  # points; smaller text cannot be read and is left out


class Triptych:
    """A picture of three photos side by side, with room for captions and legends.

    Args:
        image_shape (tuple[int, int]): (height, width) of the photo, pixels.
        title (str): Above the photos.

    Attributes:
        figure (Figure): See :func:`save_figure`.
        points_per_pixel (float): Typographic points of the picture per pixel of the photo.
    """

    _HEAD, _FOOT, _GAP = 0.62, 0.42, 0.08  # inches

    def __init__(self, image_shape: tuple[int, ...], title: str) -> None:
        height, width = image_shape
        panel = np.array([width, height]) * _PANEL_PIXELS / width / _DPI  # inches
        self._extent = (0, width, height, 0)
        self._panel = panel
        self._size = (3 * panel[0] + 4 * self._GAP, panel[1] + self._HEAD + self._FOOT)
        self.points_per_pixel = _PANEL_PIXELS / width * 72 / _DPI
        self.figure = Figure(figsize=self._size, dpi=_DPI, facecolor='white')
        FigureCanvasAgg(self.figure)
        self.figure.suptitle(
            title, fontsize=11, fontweight='bold', x=self._GAP / self._size[0], ha='left',
            y=1 - 0.09 / self._size[1], va='top')

    def add(self, column: int, image: NDArray[np.uint8], caption: str) -> Axes:
        """Put a photo [H, W, 3] into column 0, 1 or 2.

        Returns:
            Axes: With pixels of the photo as its units.
        """
        axes = self.figure.add_axes((
            (self._GAP + column * (self._panel[0] + self._GAP)) / self._size[0],
            self._FOOT / self._size[1],
            self._panel[0] / self._size[0], self._panel[1] / self._size[1]))
        axes.imshow(image, interpolation='lanczos', extent=self._extent)
        axes.set_axis_off()
        axes.set_title(caption, fontsize=10, pad=4, loc='left')
        return axes

    def add_truth(
        self,
        image: NDArray[np.uint8],
        truth: Mapping[str, NDArray[Any]],
        matches: NDArray[np.int64],
        noun: str,
    ) -> Axes:
        """Put the photo with its ground-truth boxes into the first column.

        Args:
            image (ndarray[H, W, 3]): uint8 RGB.
            truth (dict): ``bboxes`` ndarray[M, 4].
            matches (ndarray[N]): Of :func:`match_by_class`.
            noun (str): What the boxes hold, plural.

        Returns:
            Axes: See :meth:`add`.
        """
        found = np.isin(np.arange(len(truth['bboxes'])), matches)
        axes = self.add(0, image, f'Ground truth: {len(found)} {noun}')
        draw_boxes(axes, truth['bboxes'], np.where(found, TRUTH, MISSED), self.points_per_pixel)
        legend(axes, [(TRUTH, 'found'), (MISSED, 'missed')])
        return axes

    def add_predictions(
        self,
        image: NDArray[np.uint8],
        pred: Mapping[str, NDArray[Any]],
        truth: Mapping[str, NDArray[Any]],
        matches: NDArray[np.int64],
        noun: str,
        criterion: str,
        class_names: Sequence[str],
    ) -> Axes:
        """Put the photo with its predicted boxes into the second column.

        Args:
            image (ndarray[H, W, 3]): uint8 RGB.
            pred (dict): ``bboxes`` ndarray[N, 4], ``labels`` [N], ``scores`` [N], best first.
            truth (dict): ``bboxes`` ndarray[M, 4].
            matches (ndarray[N]): Of :func:`match_by_class`.
            noun (str): What the boxes hold, plural.
            criterion (str): When a prediction is right.
            class_names (Sequence[str]): Written beside the scores if they are several.

        Returns:
            Axes: See :meth:`add`.
        """
        right = matches >= 0
        axes = self.add(
            1, image, f'Predictions: {len(right)} {noun}, {int(right.sum())} right, '
            f'{len(truth["bboxes"]) - int(right.sum())} missed')
        texts = [label_of(score, label, class_names)
                 for score, label in zip(pred['scores'], pred['labels'], strict=True)]
        draw_boxes(axes, pred['bboxes'], np.where(right, FOUND, WRONG), self.points_per_pixel,
                   texts)
        legend(axes, [(FOUND, f'right ({criterion})'), (WRONG, 'wrong')])
        return axes

    def add_center_heatmap(self, image: NDArray[np.uint8], heatmap: NDArray[Any]) -> None:
        """Overlay the photo with a center heatmap [H, W] in the last column."""
        top = top_of(heatmap)
        axes = self.add(2, heatmap_overlay(image, heatmap, top), 'Center heatmap')
        bar = self.figure.add_axes((
            axes.get_position().x0, (self._FOOT - 0.17) / self._size[1],
            self._panel[0] * 0.45 / self._size[0], 0.09 / self._size[1]))
        self.figure.colorbar(ScalarMappable(Normalize(0, top), HEAT), cax=bar,
                             orientation='horizontal', ticks=(0, top / 2, top))
        bar.tick_params(labelsize=7, length=2, pad=1)
        bar.text(1.1, 0.5, "probability of an object's center", fontsize=8, va='center',
                 transform=bar.transAxes)


def detection_panel(
    image: NDArray[np.uint8],
    truth: Mapping[str, NDArray[Any]],
    pred: Mapping[str, NDArray[Any]],
    heatmap: NDArray[Any],
    title: str = '',
    class_names: Sequence[str] = (),
) -> Figure:
    """Draw [ground truth | predictions | heatmap] of one photo.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        truth (dict): ``bboxes`` ndarray[M, 4] xyxy, ``labels`` ndarray[M].
        pred (dict): ``bboxes`` ndarray[N, 4], ``labels`` [N], ``scores`` [N], best first.
        heatmap (ndarray[H, W]): Probability of an object's center at each pixel, in the
            image's frame (:func:`heatmap_to_image`).
        title (str): Above the panel.
        class_names (Sequence[str]): Drawn beside the score if there is more than one class.

    Returns:
        Figure: See :func:`save_figure`.
    """
    panels = Triptych(image.shape[:2], title)
    matches = match_by_class(
        box_overlaps(pred['bboxes'], truth['bboxes']), pred['labels'], truth['labels'])
    panels.add_truth(image, truth, matches, 'boxes')
    panels.add_predictions(image, pred, truth, matches, 'boxes', 'IoU ≥ 0.5', class_names)
    panels.add_center_heatmap(image, heatmap)
    return panels.figure


def label_of(score: float, label: int, class_names: Sequence[str]) -> str:
    """Format the label of a predicted box: the score, after the class if there are several.

    Args:
        score (float): In [0, 1].
        label (int): The class.
        class_names (Sequence[str]): Of all classes.

    Returns:
        str
    """
    text = score_text(score)
    return f'{class_names[label]} {text}' if len(class_names) > 1 else text


def draw_boxes(
    axes: Axes,
    bboxes: NDArray[Any],
    colors: Sequence[Any] | NDArray[Any],
    points_per_pixel: float,
    texts: Sequence[str] | None = None,
    line_width: float | None = None,
    text_sizes: tuple[float, float] = (0, 7.5),
) -> None:
    """Draw boxes, with texts where there is room for them.

    Args:
        axes (Axes): With image pixels as its units.
        bboxes (ndarray[N, 4]): xyxy.
        colors (Sequence[N]): Names or RGB in [0, 1].
        points_per_pixel (float): Typographic points of the picture per pixel of the image.
        texts (list[str], optional): One for each box, of one or several lines.
        line_width (float, optional): Points. None: thinner where boxes are many.
        text_sizes (tuple[float, float]): Least and largest size of texts, points. One that
            would have to be too small to be read in its box is left out, unless the least size
            is larger: then it sticks out.
    """
    if line_width is None:
        line_width = float(np.clip(1.9 - len(bboxes) / 100, 0.8, 1.6))
    dark = withStroke(linewidth=line_width + 0.9, foreground='black', alpha=0.55)
    # The best are drawn last, on top of the others.
    for index in reversed(range(len(bboxes))):
        x1, y1, x2, y2 = bboxes[index]
        axes.add_patch(Rectangle(
            (x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colors[index],
            linewidth=line_width, joinstyle='round', path_effects=[dark]))
        if texts and texts[index]:
            # Half a point per character and point of size: at most as wide as the box.
            longest = max(map(len, texts[index].split('\n')))
            size = (x2 - x1) * points_per_pixel / (0.6 * max(longest, 3))
            size = min(max(size, text_sizes[0]), text_sizes[1])
            if size >= _SMALLEST_TEXT:
                axes.text(max(x1, 0) + 1, max(y1, 0) + 1, texts[index], fontsize=size,
                          color='white', ha='left', va='top', clip_on=True, linespacing=1.05,
                          path_effects=[withStroke(linewidth=1.2, foreground='#102018')])


def legend(axes: Axes, entries: Sequence[tuple[Any, str]], rows: int = 1) -> None:
    """Draw colored names below a panel.

    Args:
        axes (Axes): Of the panel.
        entries (list[tuple]): Color and name of each.
        rows (int): One or two.
    """
    outline = withStroke(linewidth=3.8, foreground='#606060')
    axes.legend(
        handles=[Line2D([], [], color=color, linewidth=3, label=name, path_effects=[outline])
                 for color, name in entries],
        loc='upper left', bbox_to_anchor=(0, 0), ncols=-(-len(entries) // rows), frameon=False,
        fontsize=8 if rows == 1 else 7, borderpad=0.3, borderaxespad=0.2, handlelength=1.2,
        columnspacing=1.4, labelspacing=0.25)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure whole or not at all; its folder is made.

    Args:
        figure (Figure): Any.
        path (str | Path): The ending chooses the format (png, jpg).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{os.getpid()}.{path.name}')
    try:
        figure.savefig(temporary, facecolor=figure.get_facecolor())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
