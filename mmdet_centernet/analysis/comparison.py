"""Pictures of a trained model's work on a data set."""
import re
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

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
_JOINTS = ('keypoints', 'keypoint_scores')
_BOXES_3D = ('bboxes_3d', )


def load_model(config, checkpoint_path):
    """Build a config's model with the weights of a checkpoint, ready to predict.

    Args:
        config (Config): Of the model.
        checkpoint_path (str): Its weights, all of them: a file or an http(s) address.

    Returns:
        nn.Module: In evaluation mode, on MMEngine's device.

    Raises:
        UserError: If the checkpoint cannot be read or is another model's.
    """
    init_default_scope(config.get('default_scope', 'mmdet'))
    model = MODELS.build(config.model)
    load_weights(model, checkpoint_path)
    return model.to(get_device()).eval()


def ground_truth(info):
    """Boxes of one data set entry, in pixels of the original image.

    Args:
        info (dict): ``dataset.get_data_info(index)``.

    Returns:
        dict: ``bboxes`` ndarray[M, 4] xyxy, ``labels`` ndarray[M]; ignored ones left out.
    """
    kept = [o for o in info['instances'] if not o.get('ignore_flag')]
    return dict(bboxes=np.array([o['bbox'] for o in kept], dtype=np.float64).reshape(-1, 4),
                labels=np.array([o['bbox_label'] for o in kept], dtype=np.int64))


def true_joints(info, num_keypoints):
    """Joints of the boxes of :func:`ground_truth`, in pixels of the original image.

    Args:
        info (dict): ``dataset.get_data_info(index)``.
        num_keypoints (int): K; none is labelled if the data set has no joints.

    Returns:
        dict: ``keypoints`` ndarray[M, K, 2], ``keypoints_visible`` ndarray[M, K].
    """
    kept = [o for o in info['instances'] if not o.get('ignore_flag')]
    shapes = dict(keypoints=(num_keypoints, 2), keypoints_visible=(num_keypoints, ))
    return {name: np.array([o.get(name, np.zeros(shape)) for o in kept]).reshape(-1, *shape)
            for name, shape in shapes.items()}


def true_boxes_3d(info):
    """Boxes in space of the boxes of :func:`ground_truth`.

    Args:
        info (dict): ``dataset.get_data_info(index)``.

    Returns:
        ndarray[M, 7]: x, y, z, h, w, l, rotation_y in the camera frame.
    """
    kept = [o for o in info['instances'] if not o.get('ignore_flag')]
    return np.array([o['bbox_3d'] for o in kept], dtype=np.float64).reshape(-1, 7)


@torch.no_grad()
def look(model, sample):
    """What a model sees in one image.

    Args:
        model (nn.Module): Of this package.
        sample (dict): ``inputs`` and ``data_samples`` of a test pipeline.

    Returns:
        tuple[dict, dict, dict]: ``bboxes`` [N, 4] xyxy original pixels, ``labels``, ``scores``
        best first, of a pose model ``keypoints`` [N, K, 2] and ``keypoint_scores``, of a 3D
        model ``bboxes_3d`` [N, 7];
        probabilities at feature cells: ``heatmap`` [C, H, W] of centres and, if the model has
        them, ``keypoint_heatmap`` [K, H, W]; and where these are, the further arguments of
        :func:`heatmap_to_image`.
    """
    batch = model.data_preprocessor(pseudo_collate([sample]), False)
    output = model(**batch, mode='tensor')[0][-1]
    heatmaps = {name: output[name][0].float().sigmoid().cpu().numpy()
                for name, branch in model.bbox_head.branches.items() if branch.kind == 'heatmap'}
    result, = model(**batch, mode='predict')
    instances = result.pred_instances.cpu()
    order = instances.scores.argsort(descending=True, stable=True)
    pred = {name: instances[name][order].numpy() for name in _BOXES + _JOINTS + _BOXES_3D
            if name in instances}
    homography = result.metainfo.get('homography_matrix')
    if homography is None:
        raise UserError('the test pipeline does not say how it changed the image: use '
                        'mmdet_centernet.CenterPad or CenterResize and keep homography_matrix '
                        'in meta_keys of mmdet.PackDetInputs')
    place = dict(image_shape=result.ori_shape[:2], homography=homography,
                 stride=model.bbox_head.coder.stride)
    return pred, heatmaps, place


def _figure(image, info, seen, metainfo, title, kpt_thr):
    """The panel of one image.

    Args:
        image (ndarray[H, W, 3]): RGB.
        info (dict): ``dataset.get_data_info(index)``.
        seen (tuple): Of :func:`look`.
        metainfo (dict): Of the data set.
        title, kpt_thr: See :func:`pose_panel`.
    """
    pred, heatmaps, place = seen
    truth = ground_truth(info)
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
    truth.update(true_joints(info, metainfo.get('num_keypoints', pred['keypoints'].shape[1])))
    heat = centers
    of_keypoints = [values for name, values in heatmaps.items() if name != 'heatmap']
    if of_keypoints:
        values = np.concatenate(of_keypoints)
        heat = joint_heat(values, PoseStyle.of_heatmaps(metainfo, len(values)))
    return pose_panel(image, truth, pred, heatmap_to_image(heat, **place), title, metainfo,
                      kpt_thr)


def write_pictures(config, checkpoint_path, out_dir, split='val', count=6, score_thr=0.25,
                   kpt_thr=0.3, ending='png'):
    """Paint ground truth, predictions and heat maps of a data set's images side by side.

    Of a pose model skeletons and joint heat maps, of others boxes and centre heat maps, of a 3D
    model boxes in space, also from above.

    Args:
        config (Config): With ``<split>_dataloader``.
        checkpoint_path (str): Weights of its model.
        out_dir (str | Path): Pictures of the same name are replaced.
        split (str): ``train``, ``val`` or ``test``.
        count (int): Images, spread evenly over the data set.
        score_thr (float): Predictions below it are not drawn.
        kpt_thr (float): Joints that score less are not drawn.
        ending (str): ``png``, or ``jpg`` for a fifth of the size.

    Yields:
        Path: Each picture written.

    Raises:
        UserError: If the config has no such data, or the checkpoint does not fit.
    """
    loader = config.get(f'{split}_dataloader')
    if not loader:
        raise UserError(f'the config has no {split}_dataloader to take images from')
    model = load_model(config, checkpoint_path)
    settings = dict(loader, num_workers=0, persistent_workers=False)
    dataset = Runner.build_dataloader(settings).dataset
    if not len(dataset):
        raise UserError(f'{split}_dataloader has no images')
    fit_skeleton(model, dataset, f'{split}_dataloader')
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round())
    for index in map(int, indices):
        info = dataset.get_data_info(index)
        pred, *where = look(model, dataset[index])
        shown = pred['scores'] >= score_thr
        pred = {name: values[shown] for name, values in pred.items()}
        image = cv2.cvtColor(cv2.imread(info['img_path']), cv2.COLOR_BGR2RGB)
        name = Path(info['img_path']).stem
        figure = _figure(image, info, (pred, *where), dataset.metainfo,
                         f'{name} ({split}), scores ≥ {score_thr:g}', kpt_thr)
        clean = re.sub(r'[^A-Za-z0-9_.-]+', '_', name)
        path = Path(out_dir) / f'{index:03d}_{clean}.{ending}'
        save_figure(figure, path)
        yield path
