"""Panels that show what a detector saw: ground truth, predictions, the centre heat map."""
import os
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

# Okabe and Ito's colours, which the colour-blind can tell apart.
FOUND, WRONG, MISSED = '#2fd6a3', '#ff8c1a', '#ff4fa3'
TRUTH = '#ffe14d'
_HEAT = 'inferno'
_PANEL_PIXELS = 620  # width of one photo in the picture
_DPI = 120
_SMALLEST_TEXT = 4.0  # points; smaller text cannot be read and is left out


def heatmap_to_image(heatmap, image_shape, homography, stride):
    """Bring a heat map into the frame of the original image.

    Args:
        heatmap (ndarray[H, W]): Values at feature cells.
        image_shape (tuple[int, int]): (height, width) of the original image, pixels.
        homography (ndarray[3, 3]): Original pixels to network-input pixels.
        stride (int): Input pixels per cell.

    Returns:
        ndarray[height, width]: float32, bilinear between the centres of cells, 0 outside.
    """
    # Integer positions are centres of pixels and cells; a cell covers [s c, s (c + 1)).
    to_cells = np.array([[1 / stride, 0, -0.5], [0, 1 / stride, -0.5], [0, 0, 1]])
    from_pixels = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = to_cells @ np.asarray(homography, dtype=np.float64) @ from_pixels
    height, width = image_shape
    return cv2.warpPerspective(
        np.asarray(heatmap, dtype=np.float32), matrix, (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def heatmap_overlay(image, heatmap, top=1.0):
    """Lay a coloured heat map over a photo.

    The photo is turned to a dim grey, so that colour means heat alone; what is more probable
    covers more of it.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        heatmap (ndarray[H, W]): Probabilities.
        top (float): The probability that has the brightest colour.

    Returns:
        ndarray[H, W, 3]: uint8 RGB.

    Raises:
        ValueError: If the sizes differ.
    """
    if image.shape[:2] != heatmap.shape:
        raise ValueError(f'the image is {image.shape[:2]} (H, W) and the heat map '
                         f'{heatmap.shape}: bring it into the image with heatmap_to_image')
    heat = np.clip(heatmap / top, 0, 1)[..., None]
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2) * 0.6
    color = colormaps[_HEAT](heat[..., 0])[..., :3] * 255
    cover = np.sqrt(heat)
    return np.round(grey * (1 - cover) + color * cover).astype(np.uint8)


def match_boxes(pred, truth, iou_threshold=0.5):
    """Give each prediction, in the given order, the free ground-truth box of largest overlap.

    Args:
        pred (ndarray[N, 4]): xyxy, best first.
        truth (ndarray[M, 4]): xyxy.
        iou_threshold (float): Smallest intersection over union of a pair.

    Returns:
        ndarray[N]: int64, index of the matched ground-truth box, -1 if none.
    """
    match = np.full(len(pred), -1, dtype=np.int64)
    if not len(pred) or not len(truth):
        return match
    corner_min = np.maximum(pred[:, None, :2], truth[None, :, :2])
    corner_max = np.minimum(pred[:, None, 2:], truth[None, :, 2:])
    inter = np.prod(np.clip(corner_max - corner_min, 0, None), axis=2)
    area_pred = np.prod(pred[:, 2:] - pred[:, :2], axis=1)
    area_truth = np.prod(truth[:, 2:] - truth[:, :2], axis=1)
    union = area_pred[:, None] + area_truth[None] - inter
    iou = np.divide(inter, union, out=np.zeros_like(inter, dtype=np.float64), where=union > 0)
    for index in range(len(pred)):
        best = int(iou[index].argmax())
        if iou[index, best] >= iou_threshold:
            match[index] = best
            iou[:, best] = -1
    return match


def detection_panel(image, truth, pred, heatmap, title='', class_names=()):
    """Draw [ground truth | predictions | heat map] of one photo.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        truth (dict): ``bboxes`` ndarray[M, 4] xyxy, ``labels`` ndarray[M].
        pred (dict): ``bboxes`` ndarray[N, 4], ``labels`` [N], ``scores`` [N], best first.
        heatmap (ndarray[H, W]): Probability that an object's centre lies here, in the
            image's frame (:func:`heatmap_to_image`).
        title (str): Above the panel.
        class_names (Sequence[str]): Drawn beside the score if there is more than one class.

    Returns:
        Figure: See :func:`save_figure`.
    """
    height, width = image.shape[:2]
    scale = _PANEL_PIXELS / width
    panel = np.array([width, height]) * scale / _DPI  # inches
    head, foot, gap = 0.62, 0.42, 0.08
    size = (3 * panel[0] + 4 * gap, panel[1] + head + foot)
    figure = Figure(figsize=size, dpi=_DPI, facecolor='white')
    FigureCanvasAgg(figure)

    def axes(column, shown, caption):
        area = figure.add_axes((
            (gap + column * (panel[0] + gap)) / size[0], foot / size[1],
            panel[0] / size[0], panel[1] / size[1]))
        area.imshow(shown, interpolation='lanczos', extent=(0, width, height, 0))
        area.set_axis_off()
        area.set_title(caption, fontsize=10, pad=4, loc='left')
        return area

    match = _match_by_class(pred, truth)
    found = np.zeros(len(truth['bboxes']), dtype=bool)
    found[match[match >= 0]] = True
    right = match >= 0

    first = axes(0, image, f'Ground truth: {len(found)} boxes')
    _draw_boxes(first, truth['bboxes'], np.where(found, TRUTH, MISSED), scale)
    second = axes(1, image, f'Predictions: {len(right)} boxes, {int(right.sum())} right, '
                  f'{int((~found).sum())} missed')
    texts = [_label(score, label, class_names)
             for score, label in zip(pred['scores'], pred['labels'], strict=True)]
    _draw_boxes(second, pred['bboxes'], np.where(right, FOUND, WRONG), scale, texts)
    # Short trainings find the right places with low probabilities; the colour bar says so.
    top = float(np.clip(np.ceil(heatmap.max(initial=0) * 10) / 10, 0.2, 1))
    third = axes(2, heatmap_overlay(image, heatmap, top), 'Centre heat map')

    figure.suptitle(title, fontsize=11, fontweight='bold', x=gap / size[0], ha='left',
                    y=1 - 0.09 / size[1], va='top')
    _legend(first, [(TRUTH, 'found'), (MISSED, 'missed')])
    _legend(second, [(FOUND, 'right (IoU ≥ 0.5)'), (WRONG, 'wrong')])
    bar = figure.add_axes((third.get_position().x0, (foot - 0.17) / size[1],
                           panel[0] * 0.45 / size[0], 0.09 / size[1]))
    figure.colorbar(ScalarMappable(Normalize(0, top), _HEAT), cax=bar, orientation='horizontal',
                    ticks=(0, top / 2, top))
    bar.tick_params(labelsize=7, length=2, pad=1)
    bar.text(1.1, 0.5, "probability of an object's centre", fontsize=8, va='center',
             transform=bar.transAxes)
    return figure


def _match_by_class(pred, truth):
    """:func:`match_boxes` within each class."""
    match = np.full(len(pred['bboxes']), -1, dtype=np.int64)
    for label in np.unique(pred['labels']):
        of_pred = np.flatnonzero(pred['labels'] == label)
        of_truth = np.flatnonzero(truth['labels'] == label)
        pairs = match_boxes(pred['bboxes'][of_pred], truth['bboxes'][of_truth])
        match[of_pred[pairs >= 0]] = of_truth[pairs[pairs >= 0]]
    return match


def _label(score, label, class_names):
    text = f'{score:.2f}'.removeprefix('0')
    return f'{class_names[label]} {text}' if len(class_names) > 1 else text


def _draw_boxes(axes, bboxes, colors, scale, texts=None):
    """Draw boxes; thinner where they are many, with texts where there is room for them.

    Args:
        axes (Axes): With image pixels as its units.
        bboxes (ndarray[N, 4]): xyxy.
        colors (ndarray[N]): Names.
        scale (float): Pixels of the picture per pixel of the image.
        texts (list[str], optional): One for each box.
    """
    line_width = float(np.clip(1.9 - len(bboxes) / 100, 0.8, 1.6))
    dark = withStroke(linewidth=line_width + 0.9, foreground='black', alpha=0.55)
    # The best are drawn last, on top of the others.
    for index in reversed(range(len(bboxes))):
        x1, y1, x2, y2 = bboxes[index]
        axes.add_patch(Rectangle(
            (x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colors[index],
            linewidth=line_width, joinstyle='round', path_effects=[dark]))
        if texts:
            # Half a point per character and point of size: at most as wide as the box.
            points = (x2 - x1) * scale * 72 / _DPI
            size = min(7.5, points / (0.6 * max(len(texts[index]), 3)))
            if size >= _SMALLEST_TEXT:
                axes.text(max(x1, 0) + 1, max(y1, 0) + 1, texts[index], fontsize=size,
                          color='white', ha='left', va='top', clip_on=True,
                          path_effects=[withStroke(linewidth=1.2, foreground='#102018')])


def _legend(axes, entries):
    """One row of coloured names below a panel."""
    axes.legend(
        handles=[Line2D([], [], color=color, linewidth=3, label=name) for color, name in entries],
        loc='upper left', bbox_to_anchor=(0, 0), ncols=len(entries), frameon=False,
        fontsize=8, borderpad=0.3, borderaxespad=0.2, handlelength=1.2, columnspacing=1.4)


def save_figure(figure, path):
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
