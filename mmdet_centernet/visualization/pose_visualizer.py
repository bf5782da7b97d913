"""MMEngine's visualizer for objects with keypoints."""
import mmcv
import numpy as np
from mmdet.structures.bbox import BaseBoxes
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.dist import master_only

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import VISUALIZERS
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


@VISUALIZERS.register_module()
class PoseLocalVisualizer(DetLocalVisualizer):
    """Visualizer that draws boxes, skeletons and keypoint heatmaps.

    ``dataset_meta`` has the colors and links of each class in ``skeletons``, or one skeleton for
    all (``keypoint_colors``, ``skeleton_links``, ``skeleton_link_colors``, as MMPose names
    them). Objects of classes without a skeleton are plain boxes, in the ``palette``'s colors. A
    skeleton of another number of keypoints is not used: keypoints then have colors far apart,
    and no links.

    Args:
        name, image, vis_backends, save_dir: see ``mmdet.DetLocalVisualizer``.
        kpt_thr (float): predicted keypoints that score less are not drawn.
    """

    def __init__(self, name='visualizer', image=None, vis_backends=None, save_dir=None,
                 kpt_thr=0.3):
        super().__init__(name, image, vis_backends, save_dir)
        self.kpt_thr = kpt_thr

    @master_only
    def add_datasample(self, name, image, data_sample=None, draw_gt=True, draw_pred=True,
                       show=False, wait_time=0, out_file=None, pred_score_thr=0.3, step=0):
        """Draw [ground truth | predictions | keypoint heatmaps], those of them that there are.

        Args:
            name (str): Of the picture.
            image (ndarray[H, W, 3]): RGB, 0 to 255.
            data_sample (DetDataSample, optional): ``gt_instances`` (``bboxes``, ``labels``,
                ``keypoints``, ``keypoints_visible``), ``pred_instances`` (``bboxes``,
                ``labels``, ``scores``, ``keypoints``, ``keypoint_scores``), all in pixels of
                the image; ``pred_fields`` (``heatmaps`` [K, H', W'] with the metainfo
                ``stride``), which need the sample's ``homography_matrix``.
            draw_gt, draw_pred (bool): Leave out ground truth or predictions and heat maps.
            show (bool): Show a window.
            wait_time (float): How long, seconds; 0 waits for a key.
            out_file (str, optional): Written instead of handing the picture to the backends.
            pred_score_thr (float): objects that do not score more are not drawn.
            step (int): For the backends.

        Raises:
            UserError: If there are heat maps, but nothing says where they belong.
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

    def _draw_instances(self, image, instances):
        """Return a copy of the image with boxes and skeletons, RGB."""
        self.set_image(image)
        points_per_pixel = 72 / self.dpi
        line_width = max(_THINNEST, _OF_IMAGE * max(image.shape[:2]) * points_per_pixel)
        bboxes = instances.bboxes
        bboxes = (bboxes.tensor if isinstance(bboxes, BaseBoxes) else bboxes).float().numpy()
        labels = instances.labels.numpy()
        palette = get_palette(
            self.dataset_meta.get('palette'), int(labels.max(initial=-1)) + 1)
        classes = self.dataset_meta.get('classes') or ()
        texts = [label_of(score, label, classes) for score, label in zip(
            instances.scores.tolist(), labels, strict=True)] if 'scores' in instances else None
        draw_boxes(self.ax_save, bboxes, [np.array(palette[label]) / 255 for label in labels],
                   points_per_pixel, texts, line_width)
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
        return self.get_image()

    def _draw_heatmaps(self, image, data_sample):
        """Return the image in gray with keypoint heatmaps in their keypoints' colors, RGB."""
        heatmaps = data_sample.pred_fields.heatmaps.float().numpy()
        homography = data_sample.metainfo.get('homography_matrix')
        if homography is None:
            raise UserError('heat maps cannot be laid over the image, because the data sample has '
                            'no homography_matrix: let the test pipeline end in '
                            'mmdet_centernet.PackPoseInputs')
        return joints_overlay(image, heatmap_to_image(
            joint_heat(heatmaps, PoseStyle.of_heatmaps(self.dataset_meta, len(heatmaps))),
            image.shape[:2], homography, data_sample.pred_fields.stride))
