"""From a JPEG file to what a training step takes."""
import atexit
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from networks import mmdet_config, our_config

WIDTH, HEIGHT = 640, 480
OUR_CONFIGS = {
    'ours': 'centernet_dla34_140e_coco.py',
    'ours, colors on the device': 'centernet_dla34_140e_coco.py',
    "ours, mmdet's recipe": 'centernet_r18_dcn_140e_coco.py',
}
_QUALITY = 90  # of COCO's JPEGs, about


@cache
def photographs(count):
    """Write images with as much detail as photographs have, and say what is in them.

    Args:
        count (int): equal ones for an equal count.

    Returns:
        list[dict]: what mmdet's data sets give a pipeline, with ``img_path`` in a folder that
        goes with the process.
    """
    folder = tempfile.TemporaryDirectory(prefix='centernet_benchmark_')
    atexit.register(folder.cleanup)
    rng = np.random.default_rng(0)
    infos = []
    for index in range(count):
        # Structures of every size, the small ones weak, as in nature.
        image = np.full((HEIGHT, WIDTH, 3), 120, np.float32)
        for cell, strength in ((160, 60), (40, 30), (10, 15), (1, 5)):
            noise = rng.normal(0, strength, (HEIGHT // cell, WIDTH // cell, 3))
            image += cv2.resize(
                noise.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        instances = []
        for _ in range(7):  # objects in an image of COCO, on average
            side = rng.integers(20, 240, 2)
            corner = rng.integers(0, (WIDTH, HEIGHT) - side)
            box = np.concatenate((corner, corner + side)).tolist()
            cv2.rectangle(image, box[:2], box[2:], rng.uniform(0, 255, 3).tolist(), 3)
            instances.append(dict(
                bbox=[float(value) for value in box], bbox_label=int(rng.integers(80)),
                ignore_flag=0))
        path = str(Path(folder.name) / f'{index}.jpg')
        cv2.imwrite(path, image.clip(0, 255).astype(np.uint8),
                    [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        infos.append(dict(
            img_path=path, img_id=index, height=HEIGHT, width=WIDTH, instances=instances))
    return infos


def load(side, count=32):
    """Images through the training pipeline of a config, one thread, as in a loading process.

    Args:
        side (str): ``'mmdet'``, its CenterNet's; ``'ours'``, the paper's recipe; ``'ours,
            colors on the device'``, the same with ``ColorJitterPCA(on_device=True)``; ``"ours,
            mmdet's recipe"``.
        count (int): images that a run goes through, each run with equal random choices.

    A run returns the packed images.
    """
    init_default_scope('mmdet')
    config = mmdet_config() if side == 'mmdet' else our_config(OUR_CONFIGS[side])
    if side.endswith('on the device'):
        for step in config.train_pipeline:
            if step['type'].endswith('ColorJitterPCA'):
                step['on_device'] = True
            if 'meta_keys' in step:
                step['meta_keys'] = (*step['meta_keys'], 'color_matrix')
    pipeline = Compose(config.train_pipeline)
    infos = photographs(count)

    def run():
        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        np.random.seed(0)
        try:
            return [pipeline(dict(info)) for info in infos]
        finally:
            cv2.setNumThreads(threads)

    return run
