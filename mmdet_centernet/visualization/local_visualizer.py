"""MMEngine's visualizer for boxes, keypoints and attributes."""
from collections.abc import Mapping, Sequence
from typing import Any

import mmcv
import numpy as np
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import BaseBoxes
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.dist import master_only
from mmengine.structures import InstanceData
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.attributes import Attribute, name_attributes
from mmdet_centernet.registry import VISUALIZERS
from mmdet_centernet.visualization.attributes import attribute_lines
from mmdet_centernet.visualization.heatmaps import heatmap_to_image
from mmdet_centernet.visualization.panels import draw_boxes, label_of
from mmdet_centernet.visualization.people import (
    PoseStyle,
    draw_people,
    find_styles,
    joint_heat,
    joints_overlay,
)

# Width of a box's lines: a share of the image's longer side, and points at least.
_OF_IMAGE, _THINNEST = 0.002, 0.7
# Texts: points, line widths in images that are large, and points at least, of attributes.
_TEXT, _OF_LINE, _LEAST_TEXT = 7.5, 6, 6


@VISUALIZERS.register_module(name=['CenterNetLocalVisualizer', 'PoseLocalVisualizer'])
class CenterNetLocalVisualizer(DetLocalVisualizer):
    """Visualizer that draws boxes and, where there are some, keypoints, attributes and heatmaps.

    Boxes have the ``palette``'s colors. ``dataset_meta`` has the colors and links of each class
    in ``skeletons``, or one skeleton for all (``keypoint_colors``, ``skeleton_links``,
    ``skeleton_link_colors``, as MMPose names them). A skeleton of another number of keypoints is
    not used: keypoints then have colors far apart, and no links. Attributes are written into the
    boxes, by the names of their values in ``dataset_meta['attributes']``.

    Args:
        name, image, vis_backends, save_dir: see ``mmdet.DetLocalVisualizer``.
        kpt_thr (float): predicted keypoints that score less are not drawn.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        image: NDArray[np.uint8] | None = None,
        vis_backends: Sequence[Any] | None = None,
        save_dir: str | None = None,
        kpt_thr: float = 0.3,
    ) -> None:
        super().__init__(name, image, vis_backends, save_dir)
        self.kpt_thr = kpt_thr

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
        """Draw [ground truth | predictions | keypoint heatmaps], those of them that there are.

        Args:
            name (str): Of the picture.
            image (ndarray[H, W, 3]): RGB, 0 to 255.
            data_sample (DetDataSample, optional): ``gt_instances`` (``bboxes``, ``labels``,
                ``keypoints``, ``keypoints_visible``, ``attribute_<name>``), ``pred_instances``
                (``bboxes``, ``labels``, ``scores``, ``keypoints``, ``keypoint_scores``,
                ``attribute_<name>``), all in pixels of the image; ``pred_fields`` (``heatmaps``
                [K, H', W'] with the metainfo ``stride``), which need the sample's
                ``homography_matrix``.
            draw_gt, draw_pred (bool): Draw ground truth; draw predictions and heatmaps.
            show (bool): Show a window.
            wait_time (float): How long, seconds; 0 waits for a key.
            out_file (str, optional): Written instead of handing the picture to the backends.
            pred_score_thr (float): objects that do not score more are not drawn.
            step (int): For the backends.

        Raises:
            UserError: If there are heatmaps, but no ``homography_matrix``.
        """
        image = image.clip(0, 255).astype(np.uint8)
        panels = []
        if data_sample is not None:
            data_sample = data_sample.cpu()
            if draw_gt and 'gt_instances' in data_sample:
                panels.append(self._draw_instances(image, data_sample.gt_instances))
            if draw_pred and 'pred_instances' in data_sample:
                instances = data_sample.pred_instances
                panels.append(self._draw_instances(
                    image, instances[instances.scores > pred_score_thr]))
            if draw_pred and 'heatmaps' in data_sample.get('pred_fields', ()):
                panels.append(self._draw_heatmaps(image, data_sample))
        drawn = np.concatenate(panels, axis=1) if panels else image
        self.set_image(drawn)  # for get_image()
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(drawn[..., ::-1], out_file)
        else:
            self.add_image(name, drawn, step)

    def _draw_instances(
        self, image: NDArray[np.uint8], instances: InstanceData
    ) -> NDArray[np.uint8]:
        """Return a copy of the image with boxes and skeletons, RGB."""
        self.set_image(image)
        points_per_pixel = 72 / self.dpi
        line_width = max(_THINNEST, _OF_IMAGE * max(image.shape[:2]) * points_per_pixel)
        bboxes = instances.bboxes
        bboxes = (bboxes.tensor if isinstance(bboxes, BaseBoxes) else bboxes).float().numpy()
        labels = instances.labels.numpy()
        palette = get_palette(
            self.dataset_meta.get('palette'), int(labels.max(initial=-1)) + 1)
        attributes = self.dataset_meta.get('attributes') or {}
        draw_boxes(self.ax_save, bboxes, [np.array(palette[label]) / 255 for label in labels],
                   points_per_pixel, self._texts(instances, attributes), line_width,
                   (_LEAST_TEXT if attributes else 0, max(_TEXT, _OF_LINE * line_width)))
        if 'keypoints' in instances:
            keypoints = instances.keypoints.float().numpy()
            if 'keypoint_scores' in instances:
                scores = instances.keypoint_scores.float().numpy()
                # Keypoints that an object does not have score 0.
                seen, hollow = (scores >= self.kpt_thr) & (scores > 0), None
            else:
                visible = instances.keypoints_visible.numpy()
                seen, hollow = visible > 0, visible == 1
            styles = find_styles(self.dataset_meta, labels.tolist(), keypoints.shape[1])
            draw_people(self.ax_save, keypoints, seen, styles, bboxes, points_per_pixel, hollow)
        drawn: NDArray[np.uint8] = self.get_image()
        return drawn

    def _texts(
        self, instances: InstanceData, attributes: Mapping[str, Attribute]
    ) -> list[str] | None:
        """Format the text in each box: class, score and attributes; None without any."""
        classes = self.dataset_meta.get('classes') or ()
        labels, predicted = instances.labels.tolist(), 'scores' in instances
        if predicted:
            lines = [[label_of(score, label, classes)] for score, label in zip(
                instances.scores.tolist(), labels, strict=True)]
        elif attributes:
            lines = [[classes[label]] if len(classes) > 1 else [] for label in labels]
        else:
            return None
        named = name_attributes(
            {name: values.float().numpy() for name, values in instances.items()
             if name == 'labels' or name.startswith('attribute_')}, attributes)
        for line, each in zip(lines, named, strict=True):
            line += attribute_lines(each, with_scores=predicted)
        return ['\n'.join(line) for line in lines]

    def _draw_heatmaps(
        self, image: NDArray[np.uint8], data_sample: DetDataSample
    ) -> NDArray[np.uint8]:
        """Return the image in gray with keypoint heatmaps in their keypoints' colors, RGB."""
        heatmaps = data_sample.pred_fields.heatmaps.float().numpy()
        homography = data_sample.metainfo.get('homography_matrix')
        if homography is None:
            raise UserError('heatmaps cannot be drawn over the image, because the data sample has '
                            'no homography_matrix: let the test pipeline end in '
                            'mmdet_centernet.PackInputs')
        return joints_overlay(image, heatmap_to_image(
            joint_heat(heatmaps, PoseStyle.of_heatmaps(self.dataset_meta, len(heatmaps))),
            image.shape[:2], homography, data_sample.pred_fields.stride))


# The name that configs of poses and other modules have for it.
PoseLocalVisualizer = CenterNetLocalVisualizer
