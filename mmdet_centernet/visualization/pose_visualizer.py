"""MMEngine's visualizer for people and their joints."""
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
from mmdet_centernet.visualization.people import PoseStyle, draw_people, joint_heat, joints_overlay

# Width of a box's lines: a share of the image's longer side, and points at least.
_OF_IMAGE, _THINNEST = 0.002, 0.7


@VISUALIZERS.register_module()
class PoseLocalVisualizer(DetLocalVisualizer):
    """Draws boxes, skeletons and joint heat maps, where ``mmdet.DetLocalVisualizer`` draws boxes.

    Colours and links are those of ``dataset_meta`` (``keypoint_colors``, ``skeleton_links``,
    ``skeleton_link_colors``, as MMPose names them), boxes have the ``palette``'s. A skeleton
    of another number of joints is not used: joints then have colours far apart, and no links.

    Args:
        name, image, vis_backends, save_dir: As of ``mmdet.DetLocalVisualizer``.
        kpt_thr (float): Predicted joints that score less are not drawn.
    """

    def __init__(self, name='visualizer', image=None, vis_backends=None, save_dir=None,
                 kpt_thr=0.3):
        super().__init__(name, image, vis_backends, save_dir)
        self.kpt_thr = kpt_thr

    @master_only
    def add_datasample(self, name, image, data_sample=None, draw_gt=True, draw_pred=True,
                       show=False, wait_time=0, out_file=None, pred_score_thr=0.3, step=0):
        """Draw [ground truth | predictions | joint heat maps], those of them that there are.

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
            pred_score_thr (float): People that do not score more are not drawn.
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
        """A copy of the image with boxes and people, RGB."""
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
                seen, hollow = instances.keypoint_scores.float().numpy() >= self.kpt_thr, None
            else:
                visible = instances.keypoints_visible.numpy()
                seen, hollow = visible > 0, visible == 1
            draw_people(self.ax_save, keypoints, seen, self._style(keypoints.shape[1]), bboxes,
                        points_per_pixel, hollow)
        return self.get_image()

    def _draw_heatmaps(self, image, data_sample):
        """The image in grey with joint heat maps in their joints' colours, RGB."""
        heatmaps = data_sample.pred_fields.heatmaps.float().numpy()
        homography = data_sample.metainfo.get('homography_matrix')
        if homography is None:
            raise UserError('heat maps cannot be laid over the image, because the data sample has '
                            'no homography_matrix: let the test pipeline end in '
                            'mmdet_centernet.PackPoseInputs')
        return joints_overlay(image, heatmap_to_image(
            joint_heat(heatmaps, self._style(len(heatmaps))), image.shape[:2], homography,
            data_sample.pred_fields.stride))

    def _style(self, num_keypoints):
        return PoseStyle.of(self.dataset_meta, num_keypoints)
