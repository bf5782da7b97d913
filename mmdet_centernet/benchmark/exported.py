"""Exported models in the runtimes that execute them."""
import atexit
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.registry import init_default_scope

from mmdet_centernet.apis.runtimes import open_model
from mmdet_centernet.benchmark.networks import CONFIGS, image_batch, our_config, our_model
from mmdet_centernet.deploy.export import export

CALIBRATION_IMAGES = 32


def predict(backend, model='R18-DCN', batch=1, size=512, precision='float32',
            dcn='grid_sample'):
    """From uint8 images to detections, as :func:`networks.predict`, in an exported graph.

    Args:
        backend (str): ``'onnxruntime'`` or ``'openvino'``.
        precision (str): ``'float32'``; of OpenVINO also ``'bfloat16'`` and ``'int8'``.
        dcn (str): how deformable convolutions are written.

    A run returns the arrays ``bboxes``, ``scores`` and ``labels``.
    """
    path = _file(model, 'onnx' if backend == 'onnxruntime' else 'openvino', batch, size, dcn)
    if precision == 'int8':
        path = path
    runtime = open_model(
        path, backend, threads=torch.get_num_threads(),
        precision='bfloat16' if precision == 'bfloat16' else None)
    images = torch.stack(image_batch(batch, size)['inputs']).permute(0, 2, 3, 1)
    feeds = dict(image=images.contiguous().numpy())
    return lambda: runtime(feeds)


@cache
def _folder():
    folder = tempfile.TemporaryDirectory(prefix='centernet_benchmark_')
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def _file(model, format, batch, size, dcn):
    """Export a model with the weights of :func:`networks.our_model`."""
    init_default_scope('mmdet')
    config = our_config(CONFIGS[model])
    detector = our_model(model).eval()
    classes = detector.bbox_head.num_classes
    detector.dataset_meta = dict(
        classes=[f'class {index}' for index in range(classes)], palette=[(0, 0, 0)] * classes)
    path = _folder() / f'{model}_{batch}_{size}_{dcn}{dict(onnx=".onnx", openvino=".xml")[format]}'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # PyTorch's own, of its exporter
        export(SimpleNamespace(cfg=config, model=detector), path, shape=(size, size),
               batch=batch, dcn=dcn, say=lambda line: None)
    return path
