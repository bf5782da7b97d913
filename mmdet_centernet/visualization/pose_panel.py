"""A panel that shows what a pose estimator saw."""
import numpy as np

from mmdet_centernet.ops.boxes_numpy import box_overlaps
from mmdet_centernet.visualization.heatmaps import top_of
from mmdet_centernet.visualization.panels import Triptych, legend, match_by_class
from mmdet_centernet.visualization.people import PoseStyle, draw_people, joints_overlay

_MOST_NAMES = 8  # of joints that are written below a panel
# Area of a person over that of the box: MMPose's estimate where annotations have no area.
_AREA_OF_BOX = 0.53


def keypoint_similarities(pred, truth, sigmas):
    """Object keypoint similarity (OKS, COCO's) of every pair of people.

    Args:
        pred (ndarray[N, K, 2]): xy, pixels.
        truth (dict): ``keypoints`` ndarray[M, K, 2], ``keypoints_visible`` [M, K], 0 where
            not labelled, ``bboxes`` [M, 4] xyxy, which the areas are taken from.
        sigmas (Sequence[float]): Of K joints, COCO's spread of annotations.

    Returns:
        ndarray[N, M]: In [0, 1]; 0 for people without labelled joints.
    """
    distances = np.square(pred[:, None] - truth['keypoints'][None]).sum(axis=-1)
    sides = truth['bboxes'][:, 2:] - truth['bboxes'][:, :2]
    areas = np.maximum(_AREA_OF_BOX * np.prod(sides, axis=1), np.spacing(1))
    spreads = 2 * areas[:, None] * np.square(2 * np.asarray(sigmas, dtype=np.float64))
    labelled = truth['keypoints_visible'] > 0
    similar = (np.exp(-distances / spreads) * labelled).sum(axis=-1)
    return similar / np.maximum(labelled.sum(axis=-1), 1)


def pose_panel(image, truth, pred, heat, title='', dataset_meta=None, kpt_thr=0.3):
    """Draw [ground truth | predictions | heat maps] of one photo, with skeletons.

    Skeletons have the data set's colours, boxes tell who was found, missed and wrong:
    a prediction is right if it is like a person at least by half, by OKS, or by the boxes'
    IoU for people without labelled joints and data sets without sigmas.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        truth (dict): ``bboxes`` ndarray[M, 4] xyxy, ``labels`` [M], ``keypoints`` [M, K, 2],
            ``keypoints_visible`` [M, K] (0 not labelled, 1 occluded, 2 visible).
        pred (dict): ``bboxes`` ndarray[N, 4], ``labels`` [N], ``scores`` [N], best first,
            ``keypoints`` [N, K, 2], ``keypoint_scores`` [N, K].
        heat (ndarray[H, W, 4] | ndarray[H, W]): In the image's frame
            (:func:`heatmap_to_image`): joint heat maps (:func:`joint_heat`), or the
            probability that a person's centre lies here.
        title (str): Above the panel.
        dataset_meta (dict, optional): Of the data set: its skeleton, ``sigmas`` and
            ``classes``.
        kpt_thr (float): Predicted joints that score less are not drawn.

    Returns:
        Figure: See :func:`save_figure`.
    """
    meta = dataset_meta or {}
    num_keypoints = pred['keypoints'].shape[1]
    style = PoseStyle.of(meta, num_keypoints)
    likeness, criterion = box_overlaps(pred['bboxes'], truth['bboxes']), 'IoU ≥ 0.5'
    if len(meta.get('sigmas', ())) == num_keypoints:
        likeness = np.where(
            (truth['keypoints_visible'] > 0).any(axis=1),
            keypoint_similarities(pred['keypoints'], truth, meta['sigmas']), likeness)
        criterion = 'OKS ≥ 0.5'
    matches = match_by_class(likeness, pred, truth)
    panels = Triptych(image.shape[:2], title)

    axes = panels.add_truth(image, truth, matches, 'poses')
    visible = truth['keypoints_visible']
    draw_people(axes, truth['keypoints'], visible > 0, style, truth['bboxes'],
                panels.points_per_pixel, hollow=visible == 1)
    axes = panels.add_predictions(image, pred, truth, matches, 'poses', criterion,
                                  meta.get('classes', ()))
    draw_people(axes, pred['keypoints'], pred['keypoint_scores'] >= kpt_thr, style,
                pred['bboxes'], panels.points_per_pixel)
    if heat.ndim == 2:
        panels.add_center_heatmap(image, heat)
        return panels.figure
    axes = panels.add(2, joints_overlay(image, heat),
                      f'Joint heat maps (full colour: probability {top_of(heat[..., 0]):.1f})')
    names = meta.get('keypoint_id2name', {})
    if len(names) == num_keypoints <= _MOST_NAMES:
        of_color = {}
        for index, name in sorted(names.items()):
            of_color.setdefault(tuple(style.joint_colors[index]), []).append(
                name.replace('_', ' '))
        legend(axes, [(color, ', '.join(same)) for color, same in of_color.items()], rows=2)
    return panels.figure
