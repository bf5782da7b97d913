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

from mmdet_centernet.apis.checkpoint import load_state, read_checkpoint, state_dict_of
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import MODELS
from mmdet_centernet.visualization import detection_panel, heatmap_to_image, save_figure


def load_model(config, checkpoint_path):
    """Build a config's model with the weights of a checkpoint, ready to predict.

    Args:
        config (Config): Of the model.
        checkpoint_path (str): Its weights, all of them.

    Returns:
        nn.Module: In evaluation mode, on MMEngine's device.

    Raises:
        UserError: If the checkpoint cannot be read or is another model's.
    """
    init_default_scope(config.get('default_scope', 'mmdet'))
    weights = state_dict_of(read_checkpoint(checkpoint_path), checkpoint_path)
    model = MODELS.build(config.model)
    outcome = load_state(model, weights)
    if not outcome.complete:
        raise UserError(f"checkpoint {checkpoint_path} is not of the config's model: "
                        f'{outcome.differences()}; use the config that it was trained with')
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


@torch.no_grad()
def look(model, sample):
    """What a model sees in one image.

    Args:
        model (nn.Module): Of this package.
        sample (dict): ``inputs`` and ``data_samples`` of a test pipeline.

    Returns:
        tuple[dict, ndarray[H, W]]: ``bboxes`` [N, 4] xyxy original pixels, ``labels``,
        ``scores`` best first; and the probability of a centre at each pixel of the original
        image, the largest of all classes.
    """
    batch = model.data_preprocessor(pseudo_collate([sample]), False)
    heat = model(**batch, mode='tensor')[0][-1]['heatmap'][0].sigmoid().amax(dim=0)
    result, = model(**batch, mode='predict')
    instances = result.pred_instances.cpu()
    order = instances.scores.argsort(descending=True, stable=True)
    pred = {name: instances[name][order].numpy() for name in ('bboxes', 'labels', 'scores')}
    homography = result.metainfo.get('homography_matrix')
    if homography is None:
        raise UserError('the test pipeline does not say how it changed the image: use '
                        'mmdet_centernet.CenterPad or CenterResize and keep homography_matrix '
                        'in meta_keys of mmdet.PackDetInputs')
    heatmap = heatmap_to_image(heat.float().cpu().numpy(), result.ori_shape[:2], homography,
                               model.bbox_head.coder.stride)
    return pred, heatmap


def write_pictures(config, checkpoint_path, out_dir, split='val', count=6, score_thr=0.25,
                   ending='png'):
    """Paint ground truth, predictions and heat map of a data set's images side by side.

    Args:
        config (Config): With ``<split>_dataloader``.
        checkpoint_path (str): Weights of its model.
        out_dir (str | Path): Pictures of the same name are replaced.
        split (str): ``train``, ``val`` or ``test``.
        count (int): Images, spread evenly over the data set.
        score_thr (float): Predictions below it are not drawn.
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
    classes = dataset.metainfo.get('classes', ())
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round())
    for index in map(int, indices):
        info = dataset.get_data_info(index)
        pred, heatmap = look(model, dataset[index])
        shown = pred['scores'] >= score_thr
        image = cv2.cvtColor(cv2.imread(info['img_path']), cv2.COLOR_BGR2RGB)
        name = Path(info['img_path']).stem
        figure = detection_panel(
            image, ground_truth(info), {k: v[shown] for k, v in pred.items()}, heatmap,
            f'{name} ({split}), scores ≥ {score_thr:g}', classes)
        clean = re.sub(r'[^A-Za-z0-9_.-]+', '_', name)
        path = Path(out_dir) / f'{index:03d}_{clean}.{ending}'
        save_figure(figure, path)
        yield path
