"""Whole networks and their deformable layers, both with equal weights."""
import logging
import sys
from pathlib import Path

import mmdet
import torch
from heads import CLASSES, samples
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

import mmdet_centernet
from mmdet_centernet.checkpoints.parameter_names import mmdetection_table, published_branches
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.optimize import optimize_for_inference, use_precision
from mmdet_centernet.models.layers.dcn import DCNv2
from mmdet_centernet.registry import MODELS

CONFIGS = {
    'R18-DCN': 'centernet_r18_dcn_140e_coco.py',
    'R18': 'centernet_r18_dcn_140e_coco.py',
    'DLA-34': 'centernet_dla34_140e_coco.py',
    'lite0': 'centernet_lite0_140e_coco.py',
    'pose DLA-34': 'centernet_pose_dla34_140e_coco.py',
}
MMDET_CONFIG = 'centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py'
# Of the images that batch norms take their statistics from.
_CALIBRATION_SIDE = 128


def compiled_mmcv():
    """Return whether mmcv has its compiled operations, which mmdet's deformable layers need."""
    return sys.modules['mmcv._ext'].__spec__.origin != 'mmdet_centernet'


def our_config(name):
    """Load a config of this package, installed or not, by its file name."""
    package = Path(mmdet_centernet.__file__).parent
    installed = package / '.mim' / 'configs'
    return Config.fromfile(
        (installed if installed.is_dir() else package.parent / 'configs') / name)


def mmdet_config(name=MMDET_CONFIG):
    """Load a config of mmdet, by its path among its configs."""
    return Config.fromfile(Path(mmdet.__file__).parent / '.mim' / 'configs' / name)


def model_settings(settings, model, classes):
    """Adapt ``model`` of a config to a benchmark: no downloads, these classes."""
    for part in (settings, *settings.values()):
        if isinstance(part, dict):
            part.pop('init_cfg', None)
    settings.bbox_head.num_classes = classes
    if model.startswith('R18'):
        settings.neck.use_dcn = model == 'R18-DCN'
    return settings


def our_model(model='R18-DCN', classes=CLASSES):
    """Build a detector of this package with weights that depend on the arguments only.

    Weights are random but imitate a trained network: fractional offsets, peaked heatmaps,
    realistic batch norm statistics.
    """
    init_default_scope('mmdet')
    random_state = torch.get_rng_state()
    torch.manual_seed(0)
    # Silences the messages of mmengine about every parameter that it initializes.
    logging.disable(logging.WARNING)
    try:
        detector = MODELS.build(
            model_settings(our_config(CONFIGS[model]).model, model, classes))
        detector.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    for name, parameter in detector.named_parameters():
        if 'conv_offset' in name:
            nn.init.normal_(parameter, std=0.05)
        elif name.startswith('bbox_head') and name.endswith('weight'):
            # The last layer of a branch, of few channels, gets the larger ones.
            nn.init.normal_(parameter, std=0.2 if name.endswith('.2.weight') else 0.05)
    norms = [part for part in detector.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        detector.train()(
            torch.randn(2, 3, _CALIBRATION_SIDE, _CALIBRATION_SIDE), mode='tensor')
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    torch.set_rng_state(random_state)
    return detector


def mmdet_model(model='R18-DCN', classes=CLASSES):
    """Build mmdet's detector with the weights of :func:`our_model`.

    Raises:
        UserError: if it needs compiled operations that are not installed.
    """
    if model == 'R18-DCN' and not compiled_mmcv():
        raise UserError("mmdet's R18-DCN needs mmcv's compiled operations: run this in an "
                        'environment that has them (make test-compiled sets one up)')
    ours = our_model(model, classes).state_dict()
    init_default_scope('mmdet')
    detector = MMDET_MODELS.build(model_settings(mmdet_config().model, model, classes))
    to_ours = mmdetection_table(published_branches()).to_ours
    detector.load_state_dict({
        name: ours[to_ours(name) or name] for name in detector.state_dict()})
    return detector


def _model(side, model, classes):
    return (our_model if side == 'ours' else mmdet_model)(model, classes)


def train(side, model='R18-DCN', batch=8, size=512, objects=8, classes=CLASSES, bf16=False):
    """Run a training step without the optimizer: forward, losses, backward.

    A run returns the losses; the gradients are those of the model's parameters.
    """
    detector = _model(side, model, classes).train()
    data = samples(batch, size, objects, classes)
    inputs = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))

    def run():
        detector.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
            losses = detector(inputs, data, mode='loss')
        sum(losses.values()).backward()
        return losses

    return run


def image_batch(batch, size):
    """Return a batch for a model's ``test_step``: random uint8 images."""
    generator = torch.Generator().manual_seed(0)
    return dict(
        inputs=[torch.randint(0, 256, (3, size, size), dtype=torch.uint8, generator=generator)
                for _ in range(batch)],
        data_samples=samples(batch, size, 1))


def predict(side, model='R18-DCN', batch=1, size=512, classes=CLASSES, optimized=False,
            compiled=False, bf16=False):
    """Predict detections from uint8 images: normalization, network, decoding.

    Args:
        optimized, compiled, bf16 (bool): ours with batch norms folded, also compiled, or also
            in bfloat16, as the inferencer's options make it.

    A run returns the data samples.
    """
    detector = _model(side, model, classes).eval()
    if optimized or compiled:
        detector = optimize_for_inference(detector, compile=compiled)
    if bf16:
        use_precision(detector, torch.bfloat16)
    data = image_batch(batch, size)
    return torch.inference_mode()(lambda: detector.test_step(data))


def forward(model='R18-DCN', batch=1, size=512, classes=CLASSES):
    """Run our network without decoding, to count its operations."""
    detector = our_model(model, classes).eval()
    inputs = torch.randn(batch, 3, size, size)
    return torch.no_grad()(lambda: detector(inputs, mode='tensor'))


def dcn(side, in_channels, out_channels, size, batch=1, backward=False):
    """Run a deformable layer on a map of ``size`` x ``size`` cells, in the memory format of its
    network; with ``backward`` also the gradients of input and parameters.

    A run returns the output and the gradients.
    """
    if side == 'mmdet' and not compiled_mmcv():
        raise UserError("mmcv's deformable convolution needs its compiled operations: run this "
                        'in an environment that has them (make test-compiled sets one up)')
    generator = torch.Generator().manual_seed(0)
    layer = (DCNv2 if side == 'ours' else ModulatedDeformConv2dPack)(
        in_channels, out_channels, 3, padding=1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    inputs = torch.randn(batch, in_channels, size, size, generator=generator)
    if side == 'ours':
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    wanted = [inputs.requires_grad_(backward), *layer.parameters()]

    def run():
        with torch.set_grad_enabled(backward):
            out = layer(inputs)
        return out, torch.autograd.grad(out.sum(), wanted) if backward else ()

    return run
