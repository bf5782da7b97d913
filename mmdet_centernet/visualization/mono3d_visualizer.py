"""MMEngine visualizer for 3D boxes."""
from collections.abc import Mapping
from typing import Any

import cv2
import mmcv
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.dist import master_only
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import VISUALIZERS
from mmdet_centernet.visualization.birds_eye import TRUTH_OUTLINE, draw_birds_eye
from mmdet_centernet.visualization.boxes_3d import draw_boxes_3d, texts_of

_DPI = 100
# Smaller images are enlarged by whole numbers, so that texts in them are legible.
_LEAST_WIDTH = 800
# Images wider than this times their height are stacked, others are placed side by side.
_WIDE = 2
# Bird's-eye view: width divided by height; height of letters as a fraction of its height, and the
# least in pixels.
_ASPECT, _TEXT, _SMALLEST_TEXT = 0.8, 0.0145, 9


def original_camera(metainfo: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the camera matrix of a sample's original image.

    Args:
        metainfo (dict): ``cam2img`` [3, 4] of the network's input and ``homography_matrix``
            [3, 3] from the original image to it.

    Returns:
        ndarray[3, 4]: float64.

    Raises:
        UserError: If the sample has no camera or homography.
    """
    missing = [name for name in ('cam2img', 'homography_matrix') if metainfo.get(name) is None]
    if missing:
        raise UserError(
            f'3D boxes cannot be drawn into {metainfo.get("img_path", "the image")}, because the '
            f'data sample has no {" and no ".join(missing)}: let the test pipeline end in '
            'mmdet_centernet.PackMono3DInputs')
    homography = np.asarray(metainfo['homography_matrix'], dtype=np.float64)
    cam2img = np.asarray(metainfo['cam2img'], dtype=np.float64)
    return np.asarray(np.linalg.solve(homography, cam2img), dtype=np.float64)


@VISUALIZERS.register_module()
class Mono3DLocalVisualizer(DetLocalVisualizer):
    """Visualizer like ``mmdet.DetLocalVisualizer`` that draws 3D boxes instead of 2D boxes.

    Ground truth and predictions are drawn in one copy of the image each (stacked if it is wide),
    and both beside them in the bird's-eye view. Small images are enlarged. Colors are those of the
    ``palette`` of ``dataset_meta``.

    Args:
        name, image, vis_backends, save_dir: See ``mmdet.DetLocalVisualizer``.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        image: NDArray[np.uint8] | None = None,
        vis_backends: list[dict[str, Any]] | None = None,
        save_dir: str | None = None,
    ) -> None:
        super().__init__(name, image, vis_backends, save_dir)

    @master_only
    def add_datasample(
        self,
        name: str,
        image: NDArray[Any],
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
    ) -> None:
        """Draw the ground truth and predictions of a sample.

        Args:
            name (str): Name of the figure.
            image (ndarray[H, W, 3]): RGB, 0 to 255.
            data_sample (DetDataSample, optional): ``gt_instances`` (``labels``,
                ``bboxes_3d`` [N, 7] in the camera frame), ``pred_instances`` (the same and
                ``scores``); the metainfo ``cam2img`` (of the network's input) and
                ``homography_matrix``.
            draw_gt, draw_pred (bool): Draw ground truth or predictions.
            show (bool): Show a window.
            wait_time (float): Time to show it, seconds; 0 waits for a key.
            out_file (str, optional): File to write instead of passing the figure to the backends.
            pred_score_thr (float): Boxes are drawn if their score is higher.
            step (int): Step that the backends store.

        Raises:
            UserError: If there are 3D boxes, but no camera.
        """
        drawn = image.clip(0, 255).astype(np.uint8)
        shown = {} if data_sample is None else _boxes_to_draw(
            data_sample.cpu(), draw_gt, draw_pred, pred_score_thr)
        if data_sample is not None and shown:
            drawn = self._draw_all(drawn, shown, original_camera(data_sample.metainfo))
        self.set_image(drawn)  # for get_image()
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(drawn[..., ::-1], out_file)
        else:
            self.add_image(name, drawn, step)

    def _draw_all(
        self,
        image: NDArray[np.uint8],
        shown: dict[str, dict[str, NDArray[Any]]],
        cam2img: NDArray[np.float64],
    ) -> NDArray[np.uint8]:
        """Draw instances by caption, see :func:`_boxes_to_draw`; return uint8 [H', W', 3]."""
        panels = [self._draw_in_image(image, boxes, cam2img, caption if len(shown) > 1 else '')
                  for caption, boxes in shown.items()]
        height, width = image.shape[:2]
        images = np.concatenate(panels, axis=0 if width > _WIDE * height else 1)
        return np.concatenate(
            (images, self._draw_birds_eye(shown, cam2img, width, len(images))), axis=1)

    def _colors(
        self, labels: NDArray[np.int64]
    ) -> tuple[list[tuple[float, ...]], list[tuple[tuple[float, ...], str]]]:
        """Return RGB in [0, 1] for each label, and (color, name) of the classes that occur."""
        palette, count = self.dataset_meta.get('palette'), int(labels.max(initial=-1)) + 1
        if isinstance(palette, list) and len(palette) < count:
            palette = None  # it belongs to other classes
        palette = get_palette(palette, count)
        classes = self.dataset_meta.get('classes') or ()
        of_label = {label: tuple(np.array(palette[label]) / 255) for label in np.unique(labels)}
        names = [(color, classes[label] if label < len(classes) else f'class {label}')
                 for label, color in of_label.items()]
        return [of_label[label] for label in labels], names

    def _draw_in_image(
        self,
        image: NDArray[np.uint8],
        boxes: dict[str, NDArray[Any]],
        cam2img: NDArray[np.float64],
        caption: str,
    ) -> NDArray[np.uint8]:
        """Draw boxes in the image, enlarged if it is small; return RGB."""
        height, width = image.shape[:2]
        zoom = -(-_LEAST_WIDTH // width)
        if zoom > 1:
            resized: Any = cv2.resize(
                image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
            image = resized
        figure = _figure(width * zoom, height * zoom)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(image, extent=(0, width, height, 0), interpolation='none', aspect='auto')
        axes.set_axis_off()
        points_per_pixel = zoom * 72 / _DPI
        labels, bboxes_3d = boxes['labels'], boxes['bboxes_3d']
        texts = texts_of(self.dataset_meta.get('classes') or (), labels, bboxes_3d[:, 2],
                         boxes.get('scores'))
        draw_boxes_3d(axes, bboxes_3d, self._colors(labels)[0], cam2img, points_per_pixel, texts)
        if caption:
            axes.text(0.004, 0.985, caption, transform=axes.transAxes, va='top', color='white',
                      fontsize=max(0.014 * width * points_per_pixel, 7), zorder=4,
                      bbox=dict(boxstyle='square,pad=0.2', facecolor='#101418', alpha=0.5,
                                edgecolor='none'))
        return _rendered(figure)

    def _draw_birds_eye(
        self,
        shown: dict[str, dict[str, NDArray[Any]]],
        cam2img: NDArray[np.float64],
        image_width: int,
        height: int,
    ) -> NDArray[np.uint8]:
        """Draw all boxes in the bird's-eye view; return RGB of a given height."""
        width = round(_ASPECT * height)
        text = max(_TEXT * height, _SMALLEST_TEXT)
        figure = _figure(width, height)
        left, bottom = 3.6 * text / width, 2 * text / height
        axes = figure.add_axes(
            (left, bottom, 1 - left - 0.8 * text / width, 1 - bottom - 0.8 * text / height))
        groups: list[dict[str, Any]] = []
        for caption, boxes in shown.items():
            colors, names = self._colors(boxes['labels'])
            if 'scores' in boxes:
                groups.append(dict(bboxes_3d=boxes['bboxes_3d'], colors=colors, names=names,
                                   filled=True))
            else:
                groups.append(dict(bboxes_3d=boxes['bboxes_3d'], names=[(TRUTH_OUTLINE, caption)],
                                   colors=[TRUTH_OUTLINE] * len(colors)))
        draw_birds_eye(axes, groups, cam2img, image_width, text_size=text * 72 / _DPI)
        return _rendered(figure)


def _boxes_to_draw(
    data_sample: DetDataSample, draw_gt: bool, draw_pred: bool, pred_score_thr: float
) -> dict[str, dict[str, NDArray[Any]]]:
    """Select the 3D boxes of a data sample.

    Returns:
        dict[str, dict]: By caption: ``labels`` ndarray[N], ``bboxes_3d`` [N, 7], and for
        predictions ``scores`` [N].
    """
    shown = {}
    if draw_gt and 'bboxes_3d' in data_sample.get('gt_instances', ()):
        shown['ground truth'] = data_sample.gt_instances
    if draw_pred and 'bboxes_3d' in data_sample.get('pred_instances', ()):
        instances = data_sample.pred_instances
        shown['predictions'] = instances[instances.scores > pred_score_thr]
    return {caption: {
        name: instances[name].numpy() if name == 'labels' else instances[name].double().numpy()
        for name in ('labels', 'bboxes_3d', 'scores') if name in instances}
        for caption, instances in shown.items()}


def _figure(width: int, height: int) -> Figure:
    """Make an empty figure of a size in pixels."""
    # Like MMEngine, add a little so that rounding does not lose a pixel.
    figure = Figure(figsize=((width + 1e-2) / _DPI, (height + 1e-2) / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    return figure


def _rendered(figure: Figure) -> NDArray[np.uint8]:
    """Render a figure as RGB, uint8 [H, W, 3]."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return pixels
