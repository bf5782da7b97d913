"""Exported models in their runtimes."""
import atexit
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from networks import CONFIGS, image_batch, our_config, our_model
from numpy.typing import NDArray
from pipelines import photographs

from mmdet_centernet.export.export import export
from mmdet_centernet.export.options import DcnForm
from mmdet_centernet.io.inputs import read_image
from mmdet_centernet.runtime.backends import open_model

CALIBRATION_IMAGES = 32


def predict(
    backend: str,
    model: str = 'R18-DCN',
    batch: int = 1,
    size: int = 512,
    precision: str = 'float32',
    dcn: DcnForm = 'grid_sample',
) -> Callable[[], list[NDArray[Any]]]:
    """Return a run from uint8 images to detections, as :func:`networks.predict`, in a runtime.

    Args:
        backend (str): ``'onnxruntime'`` or ``'openvino'``.
        precision (str): ``'float32'``; of OpenVINO also ``'bfloat16'``, and ``'int8'``, which is
            as fast as a trained model, but has other detections.
        dcn (str): how deformable convolutions are written.

    A run returns the arrays ``bboxes``, ``scores`` and ``labels``.
    """
    if precision == 'int8':
        path = _quantized(model, batch, size)
    else:
        path = _file(model, dict(onnxruntime='.onnx', openvino='.xml')[backend], batch, size, dcn)
    runtime = open_model(
        path, backend, threads=torch.get_num_threads(),
        precision='bfloat16' if precision == 'bfloat16' else None)
    images = torch.stack(image_batch(batch, size)['inputs']).permute(0, 2, 3, 1)
    feeds = dict(image=images.contiguous().numpy())
    return lambda: runtime(feeds)


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix='centernet_benchmark_')
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def _file(model: str, extension: str, batch: int, size: int, dcn: DcnForm) -> Path:
    """Export a model with the weights of :func:`networks.our_model`."""
    init_default_scope('mmdet')
    detector = our_model(model).eval()
    classes = detector.bbox_head.num_classes
    detector.dataset_meta = dict(
        classes=[f'class {index}' for index in range(classes)], palette=[(0, 0, 0)] * classes)
    path = _folder() / f'{model}_{batch}_{size}_{dcn}{extension}'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # PyTorch's own, of its exporter
        export(detector, our_config(CONFIGS[model]), path, shape=(size, size), batch=batch,
               dcn=dcn, say=lambda line: None)
    return path


@cache
def _quantized(model: str, batch: int, size: int) -> Path:
    """Quantize an export, calibrated on drawn images, without a look at its detections."""
    import onnx

    from mmdet_centernet.export import openvino
    from mmdet_centernet.export.quantize import quantize
    images = [cv2.resize(read_image(info['img_path']), (size, size))
              for info in photographs(CALIBRATION_IMAGES)]
    source = onnx.load(_file(model, '.onnx', batch, size, 'grid_sample'))
    path = _folder() / f'{model}_{batch}_{size}_int8.xml'
    openvino.write(
        quantize(source, [dict(image=np.stack([image] * batch)) for image in images]), path, '')
    return path
