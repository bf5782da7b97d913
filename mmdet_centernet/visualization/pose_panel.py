"""A panel that shows what a pose estimator saw."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmdet_centernet.ops.boxes_numpy import box_overlaps
from mmdet_centernet.ops.matching import match_by_class
from mmdet_centernet.visualization.heatmaps import top_of
from mmdet_centernet.visualization.panels import Triptych, legend
from mmdet_centernet.visualization.people import (
    PoseStyle,
    draw_people,
    find_skeleton,
    find_styles,
    joints_overlay,
)

_MOST_NAMES = 8  # of keypoints that are written below a panel
# Area of an object over that of its box: MMPose's estimate where annotations have no area.
_AREA_OF_BOX = 0.53


def keypoint_similarities(
    pred: np.ndarray, truth: Mapping[str, np.ndarray], sigmas: Sequence[float]
) -> np.ndarray:
    """Return the object keypoint similarity (OKS, COCO's) of every pair of objects.

    Args:
        pred (ndarray[N, K, 2]): xy, pixels.
        truth (dict): ``keypoints`` ndarray[M, K, 2], ``keypoints_visible`` [M, K], 0 where
            not labeled, ``bboxes`` [M, 4] xyxy, which the areas are taken from.
        sigmas (Sequence[float]): of K keypoints, COCO's spread of annotations.

    Returns:
        ndarray[N, M]: in [0, 1]; 0 for objects without labeled keypoints.
    """
    distances = np.square(pred[:, None] - truth['keypoints'][None]).sum(axis=-1)
    sides = truth['bboxes'][:, 2:] - truth['bboxes'][:, :2]
    areas = np.maximum(_AREA_OF_BOX * np.prod(sides, axis=1), np.spacing(1))
    spreads = 2 * areas[:, None] * np.square(2 * np.asarray(sigmas, dtype=np.float64))
    labeled = truth['keypoints_visible'] > 0
    similar = (np.exp(-distances / spreads) * labeled).sum(axis=-1)
    similarities: np.ndarray = similar / np.maximum(labeled.sum(axis=-1), 1)
    return similarities


def _compare(
    truth: Mapping[str, np.ndarray], pred: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> tuple[np.ndarray, str]:
    """Return the likeness [N, M] of predictions and ground truth, and when they agree.

    It is OKS for objects with labeled keypoints whose class's sigmas are known, else IoU.
    """
    likeness, criterion = box_overlaps(pred['bboxes'], truth['bboxes']), 'IoU ≥ 0.5'
    num_keypoints = pred['keypoints'].shape[1]
    labels = range(len(meta.get('classes') or ())) or {*truth['labels'], *pred['labels']}
    for label in labels:
        skeleton, count = find_skeleton(meta, label, num_keypoints) or ({}, 0)
        if not count or len(skeleton.get('sigmas') or ()) != count:
            continue
        criterion = 'OKS ≥ 0.5'
        theirs = {name: values[:, :count] for name, values in truth.items()
                  if name.startswith('keypoints')}
        posed = (truth['labels'] == label) & (theirs['keypoints_visible'] > 0).any(axis=1)
        likeness[:, posed] = keypoint_similarities(
            pred['keypoints'][:, :count], dict(truth, **theirs), skeleton['sigmas'])[:, posed]
    return likeness, criterion


def pose_panel(
    image: np.ndarray,
    truth: Mapping[str, np.ndarray],
    pred: Mapping[str, np.ndarray],
    heat: np.ndarray,
    title: str = '',
    dataset_meta: Mapping[str, Any] | None = None,
    kpt_thr: float = 0.3,
) -> Figure:
    """Draw [ground truth | predictions | heatmaps] of one photo, with skeletons.

    Skeletons have the data set's colors, boxes tell what was found, missed and wrong: a
    prediction is right if it is like an object at least by half, by OKS, or by the boxes' IoU
    for objects without labeled keypoints and skeletons without sigmas.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        truth (dict): ``bboxes`` ndarray[M, 4] xyxy, ``labels`` [M], ``keypoints`` [M, K, 2],
            ``keypoints_visible`` [M, K] (0 not labeled, 1 occluded, 2 visible).
        pred (dict): ``bboxes`` ndarray[N, 4], ``labels`` [N], ``scores`` [N], best first,
            ``keypoints`` [N, K, 2], ``keypoint_scores`` [N, K].
        heat (ndarray[H, W, 4] | ndarray[H, W]): in the image's frame
            (:func:`heatmap_to_image`): keypoint heatmaps (:func:`joint_heat`), or the
            probability that an object's center lies here.
        title (str): above the panel.
        dataset_meta (dict, optional): of the data set: its ``classes``, and ``skeletons`` of
            these or one skeleton for all.
        kpt_thr (float): predicted keypoints that score less are not drawn.

    Returns:
        Figure: see :func:`save_figure`.
    """
    meta = dataset_meta or {}
    num_keypoints = pred['keypoints'].shape[1]
    likeness, criterion = _compare(truth, pred, meta)
    matches = match_by_class(likeness, pred['labels'], truth['labels'])
    panels = Triptych(image.shape[:2], title)
    names = meta.get('classes') or ()
    noun = 'poses'
    if not all(name in meta.get('skeletons', names) for name in names):  # some are plain boxes
        noun, criterion = 'objects', criterion.replace('OKS', 'OKS or IoU')

    axes = panels.add_truth(image, truth, matches, noun)
    visible = truth['keypoints_visible']
    draw_people(axes, truth['keypoints'], visible > 0,
                find_styles(meta, truth['labels'].tolist(), visible.shape[1]), truth['bboxes'],
                panels.points_per_pixel, hollow=visible == 1)
    axes = panels.add_predictions(image, pred, truth, matches, noun, criterion, names)
    scores = pred['keypoint_scores']
    draw_people(axes, pred['keypoints'], (scores >= kpt_thr) & (scores > 0),
                find_styles(meta, pred['labels'].tolist(), num_keypoints), pred['bboxes'],
                panels.points_per_pixel)
    if heat.ndim == 2:
        panels.add_center_heatmap(image, heat)
        return panels.figure
    axes = panels.add(2, joints_overlay(image, heat),
                      f'Keypoint heatmaps (full color: probability {top_of(heat[..., 0]):.1f})')
    names = meta.get('keypoint_id2name', {})
    if len(names) == num_keypoints <= _MOST_NAMES:
        colors = PoseStyle.of(meta, num_keypoints).joint_colors
        of_color: dict[tuple[float, ...], list[str]] = {}
        for index, name in sorted(names.items()):
            of_color.setdefault(tuple(colors[index]), []).append(name.replace('_', ' '))
        legend(axes, [(color, ', '.join(same)) for color, same in of_color.items()], rows=2)
    return panels.figure
