"""MMEngine's visualizer for boxes in space."""
import cv2
import mmcv
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.dist import master_only

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import VISUALIZERS
from mmdet_centernet.visualization.birds_eye import TRUTH_OUTLINE, draw_birds_eye
from mmdet_centernet.visualization.boxes_3d import draw_boxes_3d, texts_of

_DPI = 100
# Smaller images are enlarged by whole numbers, so that texts in them can be read.
_LEAST_WIDTH = 800
# Images wider than this times their height stand one upon the other, others side by side.
_WIDE = 2
# The view from above: width by height; letters as a share of the height, and pixels at least.
_ASPECT, _TEXT, _SMALLEST_TEXT = 0.8, 0.0145, 9


def original_camera(metainfo):
    """The camera of a sample's original image.

    Args:
        metainfo (dict): ``cam2img`` [3, 4] of the network's input and ``homography_matrix``
            [3, 3] from the original image to it.

    Returns:
        ndarray[3, 4]: float64.

    Raises:
        UserError: If the sample has none.
    """
    missing = [name for name in ('cam2img', 'homography_matrix') if metainfo.get(name) is None]
    if missing:
        raise UserError(
            f'boxes in space cannot be drawn into {metainfo.get("img_path", "the image")}, as the '
            f'data sample has no {" and no ".join(missing)}: let the test pipeline end in '
            'mmdet_centernet.PackMono3DInputs')
    homography = np.asarray(metainfo['homography_matrix'], dtype=np.float64)
    return np.linalg.solve(homography, np.asarray(metainfo['cam2img'], dtype=np.float64))


@VISUALIZERS.register_module()
class Mono3DLocalVisualizer(DetLocalVisualizer):
    """Draws boxes in space, where ``mmdet.DetLocalVisualizer`` draws boxes in the image.

    Ground truth and predictions, each in the image (above each other if it is wide), and beside
    them both from above. Small images are enlarged. Colours are the ``palette``'s of
    ``dataset_meta``.

    Args:
        name, image, vis_backends, save_dir: As of ``mmdet.DetLocalVisualizer``.
    """

    def __init__(self, name='visualizer', image=None, vis_backends=None, save_dir=None):
        super().__init__(name, image, vis_backends, save_dir)

    @master_only
    def add_datasample(self, name, image, data_sample=None, draw_gt=True, draw_pred=True,
                       show=False, wait_time=0, out_file=None, pred_score_thr=0.3, step=0):
        """Draw ground truth and predictions, those of them that there are.

        Args:
            name (str): Of the picture.
            image (ndarray[H, W, 3]): RGB, 0 to 255.
            data_sample (DetDataSample, optional): ``gt_instances`` (``labels``,
                ``bboxes_3d`` [N, 7] in the camera frame), ``pred_instances`` (the same and
                ``scores``); the metainfo ``cam2img`` (of the network's input) and
                ``homography_matrix``.
            draw_gt, draw_pred (bool): Leave out ground truth or predictions.
            show (bool): Show a window.
            wait_time (float): How long, seconds; 0 waits for a key.
            out_file (str, optional): Written instead of handing the picture to the backends.
            pred_score_thr (float): Boxes that do not score more are not drawn.
            step (int): For the backends.

        Raises:
            UserError: If there are boxes in space, but no camera.
        """
        drawn = image.clip(0, 255).astype(np.uint8)
        shown = {} if data_sample is None else _boxes_to_draw(
            data_sample.cpu(), draw_gt, draw_pred, pred_score_thr)
        if shown:
            drawn = self._draw_all(drawn, shown, original_camera(data_sample.metainfo))
        self.set_image(drawn)  # for get_image()
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(drawn[..., ::-1], out_file)
        else:
            self.add_image(name, drawn, step)

    def _draw_all(self, image, shown, cam2img):
        """The picture [H', W', 3] of what is shown: instances by what they are called."""
        panels = [self._draw_in_image(image, boxes, cam2img, caption if len(shown) > 1 else '')
                  for caption, boxes in shown.items()]
        height, width = image.shape[:2]
        panels = np.concatenate(panels, axis=0 if width > _WIDE * height else 1)
        return np.concatenate(
            (panels, self._draw_from_above(shown, cam2img, width, len(panels))), axis=1)

    def _colors(self, labels):
        """RGB in [0, 1] for each label, and the names of the classes that there are."""
        palette, count = self.dataset_meta.get('palette'), int(labels.max(initial=-1)) + 1
        if isinstance(palette, list) and len(palette) < count:
            palette = None  # of other classes
        palette = get_palette(palette, count)
        classes = self.dataset_meta.get('classes') or ()
        of_label = {label: tuple(np.array(palette[label]) / 255) for label in np.unique(labels)}
        names = [(color, classes[label] if label < len(classes) else f'class {label}')
                 for label, color in of_label.items()]
        return [of_label[label] for label in labels], names

    def _draw_in_image(self, image, boxes, cam2img, caption):
        """The image with boxes, enlarged if it is small, RGB."""
        height, width = image.shape[:2]
        zoom = -(-_LEAST_WIDTH // width)
        if zoom > 1:
            image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
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

    def _draw_from_above(self, shown, cam2img, image_width, height):
        """All boxes from above, RGB of a given height."""
        width = round(_ASPECT * height)
        text = max(_TEXT * height, _SMALLEST_TEXT)
        figure = _figure(width, height)
        left, bottom = 3.6 * text / width, 2 * text / height
        axes = figure.add_axes(
            (left, bottom, 1 - left - 0.8 * text / width, 1 - bottom - 0.8 * text / height))
        groups = []
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


def _boxes_to_draw(data_sample, draw_gt, draw_pred, pred_score_thr):
    """Boxes in space of a data sample.

    Returns:
        dict[str, dict]: By what they are called: ``labels`` ndarray[N], ``bboxes_3d`` [N, 7],
        and of predictions ``scores`` [N].
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


def _figure(width, height):
    """An empty figure of a size in pixels."""
    # MMEngine's way to keep rounding from taking a pixel away.
    figure = Figure(figsize=((width + 1e-2) / _DPI, (height + 1e-2) / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    return figure


def _rendered(figure):
    """A figure as RGB, uint8 [H, W, 3]."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
