"""Figures that compare a trained model's predictions with the ground truth."""
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from numpy.typing import NDArray
from torch import nn

from mmdet_centernet.checkpoints.load import load_weights
from mmdet_centernet.engine.hooks.skeleton_hook import fit_skeleton
from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.boxes_numpy import pairwise_bev_overlaps
from mmdet_centernet.registry import MODELS
from mmdet_centernet.visualization import (
    PoseStyle,
    detection_panel,
    heatmap_to_image,
    joint_heat,
    mono3d_panel,
    pose_panel,
    save_figure,
)

_BOXES = ('bboxes', 'labels', 'scores')
_KEYPOINTS = ('keypoints', 'keypoint_scores')
_BOXES_3D = ('bboxes_3d', )


def load_model(config: Config, checkpoint_path: str) -> nn.Module:
    """Build a config's model with the weights of a checkpoint, ready to predict.

    Args:
        config (Config): Config of the model.
        checkpoint_path (str): All of its weights: a file or an http(s) address.

    Returns:
        nn.Module: In evaluation mode, on MMEngine's device.

    Raises:
        UserError: If the checkpoint cannot be read or belongs to another model.
    """
    init_default_scope(config.get('default_scope', 'mmdet'))
    model: nn.Module = MODELS.build(config.model)
    load_weights(model, checkpoint_path)
    return model.to(get_device()).eval()


def true_boxes(info: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the boxes of one data set entry, in pixels of the original image.

    Args:
        info (dict): ``dataset.get_data_info(index)``.

    Returns:
        dict: ``bboxes`` ndarray[M, 4] xyxy, ``labels`` ndarray[M], without ignored
        objects.
    """
    kept = [o for o in info['instances'] if not o.get('ignore_flag')]
    return dict(bboxes=np.array([o['bbox'] for o in kept], dtype=np.float64).reshape(-1, 4),
                labels=np.array([o['bbox_label'] for o in kept], dtype=np.int64))


def true_keypoints(info: dict[str, Any], num_keypoints: int) -> dict[str, NDArray[Any]]:
    """Return the keypoints of the objects of :func:`true_boxes`, in pixels of the original image.

    Args:
        info (dict): ``dataset.get_data_info(index)``.
        num_keypoints (int): K; none is labeled if the data set has no keypoints.

    Returns:
        dict: ``keypoints`` ndarray[M, K, 2], ``keypoints_visible`` ndarray[M, K].
    """
    kept = [o for o in info['instances'] if not o.get('ignore_flag')]
    shapes = dict(keypoints=(num_keypoints, 2), keypoints_visible=(num_keypoints, ))
    return {name: np.array([o.get(name, np.zeros(shape)) for o in kept]).reshape(-1, *shape)
            for name, shape in shapes.items()}


def true_boxes_3d(info: dict[str, Any]) -> NDArray[np.float64]:
    """Return the 3D boxes of the objects of :func:`true_boxes`.

    Args:
        info (dict): ``dataset.get_data_info(index)``.

    Returns:
        ndarray[M, 7]: x, y, z, h, w, l, rotation_y in the camera frame.
    """
    kept = [o for o in info['instances'] if not o.get('ignore_flag')]
    return np.array([o['bbox_3d'] for o in kept], dtype=np.float64).reshape(-1, 7)


@torch.no_grad()
def predict(
    model: Any, sample: dict[str, Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], dict[str, Any]]:
    """Predict the objects of one image, and the heatmaps that they are read from.

    Args:
        model (nn.Module): A detector of this package.
        sample (dict): ``inputs`` and ``data_samples`` of a test pipeline.

    Returns:
        tuple[dict, dict, dict]: Predictions, best first: ``bboxes`` [N, 4] xyxy in original
        pixels, ``labels``, ``scores``, for a pose model ``keypoints`` [N, K, 2] and
        ``keypoint_scores``, for a 3D model ``bboxes_3d`` [N, 7]. Probabilities at feature
        cells: ``heatmap`` [C, H, W] of centers and, if the model has them,
        ``keypoint_heatmap`` [K, H, W]. The other arguments of :func:`heatmap_to_image`, which
        place these in the image.

    Raises:
        UserError: If the test pipeline does not note its homography.
    """
    batch = model.data_preprocessor(pseudo_collate([sample]), False)
    output = model(**batch, mode='tensor')[0][-1]
    heatmaps = {name: output[name][0].float().sigmoid().cpu().numpy()
                for name, branch in model.bbox_head.branches.items()
                if branch.kind == 'heatmap' and not branch.training_only}
    result, = model(**batch, mode='predict')
    instances = result.pred_instances.cpu()
    order = instances.scores.argsort(descending=True, stable=True)
    pred = {name: instances[name][order].numpy() for name in _BOXES + _KEYPOINTS + _BOXES_3D
            if name in instances}
    homography = result.metainfo.get('homography_matrix')
    if homography is None:
        raise UserError('the test pipeline does not note how it moved the image: use '
                        'mmdet_centernet.CenterPad or CenterResize and keep homography_matrix '
                        'in meta_keys of mmdet.PackDetInputs')
    place = dict(image_shape=result.ori_shape[:2], homography=homography,
                 stride=model.bbox_head.coder.stride)
    return pred, heatmaps, place


def _figure(
    image: NDArray[np.uint8],
    info: dict[str, Any],
    pred: dict[str, NDArray[Any]],
    heatmaps: dict[str, NDArray[Any]],
    place: dict[str, Any],
    metainfo: Mapping[str, Any],
    title: str,
    kpt_thr: float,
) -> Figure:
    """Draw the figure of one image.

    Args:
        image (ndarray[H, W, 3]): RGB.
        info (dict): ``dataset.get_data_info(index)``.
        pred, heatmaps, place: See :func:`predict`.
        metainfo (dict): Metainfo of the data set.
        title, kpt_thr: See :func:`pose_panel`.
    """
    truth = true_boxes(info)
    centers = heatmaps['heatmap'].max(axis=0)
    classes = metainfo.get('classes', ())
    if 'bboxes_3d' in pred:
        truth['bboxes_3d'] = true_boxes_3d(info)
        return mono3d_panel(
            image, truth, pred, pairwise_bev_overlaps(pred['bboxes_3d'], truth['bboxes_3d']),
            heatmap_to_image(centers, **place), info['cam2img'], title, classes)
    if 'keypoints' not in pred:
        return detection_panel(image, truth, pred, heatmap_to_image(centers, **place), title,
                               classes)
    truth.update(true_keypoints(info, metainfo.get('num_keypoints', pred['keypoints'].shape[1])))
    heat = centers
    of_keypoints = [values for name, values in heatmaps.items() if name != 'heatmap']
    if of_keypoints:
        values = np.concatenate(of_keypoints)
        heat = joint_heat(values, PoseStyle.of_heatmaps(metainfo, len(values)))
    return pose_panel(image, truth, pred, heatmap_to_image(heat, **place), title, metainfo,
                      kpt_thr)


def write_figures(
    config: Config,
    checkpoint_path: str,
    out_dir: str | os.PathLike[str],
    split: str = 'val',
    count: int = 6,
    score_thr: float = 0.25,
    kpt_thr: float = 0.3,
    extension: str = 'png',
) -> Iterator[Path]:
    """Draw ground truth, predictions and heatmaps of a data set's images side by side.

    A pose model's figures show skeletons and keypoint heatmaps, a 3D model's show 3D boxes, also
    in the bird's-eye view, and others show boxes and center heatmaps.

    Args:
        config (Config): Config with a ``<split>_dataloader``.
        checkpoint_path (str): Weights of its model.
        out_dir (str | Path): Output folder. Files of the same name are replaced.
        split (str): ``train``, ``val`` or ``test``.
        count (int): Number of images, spread evenly over the data set.
        score_thr (float): Predictions below it are not drawn.
        kpt_thr (float): Keypoints with a lower score are not drawn.
        extension (str): ``png``, or ``jpg`` for a fifth of the size.

    Yields:
        Path: Each figure written.

    Raises:
        UserError: If the config has no such data, or the checkpoint does not fit.
    """
    loader = config.get(f'{split}_dataloader')
    if not loader:
        raise UserError(f'the config has no {split}_dataloader to take images from')
    model = load_model(config, checkpoint_path)
    settings = dict(loader, num_workers=0, persistent_workers=False)
    dataset: Any = Runner.build_dataloader(settings).dataset
    if not len(dataset):
        raise UserError(f'{split}_dataloader has no images')
    fit_skeleton(model, dataset, f'{split}_dataloader')
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round())
    for index in map(int, indices):
        info = dataset.get_data_info(index)
        pred, heatmaps, place = predict(model, dataset[index])
        shown = pred['scores'] >= score_thr
        pred = {name: values[shown] for name, values in pred.items()}
        image: Any = cv2.imread(info['img_path'])
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        name = Path(info['img_path']).stem
        figure = _figure(image, info, pred, heatmaps, place, dataset.metainfo,
                         f'{name} ({split}), scores ≥ {score_thr:g}', kpt_thr)
        clean = re.sub(r'[^A-Za-z0-9_.-]+', '_', name)
        path = Path(out_dir) / f'{index:03d}_{clean}.{extension}'
        save_figure(figure, path)
        yield path
