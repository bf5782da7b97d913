"""Metadata of the models that are exported from configs."""
import pytest
from helpers.configs import CONFIGS, STRIDE_8
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.export.describe import describe
from mmdet_centernet.export.options import ExportOptions
from mmdet_centernet.models.properties import Property
from mmdet_centernet.registry import MODELS
from mmdet_centernet.runtime.metadata import InputFormat

META = dict(classes=('a', 'b'), palette=[(1, 2, 3), (4, 5, 6)], num_keypoints=2)


def model_of(config):
    """Return a model with a config's head and without a network."""
    init_default_scope('mmdet')
    model = nn.Module()
    model.bbox_head = MODELS.build(dict(
        config.model.bbox_head, test_cfg=config.model.get('test_cfg')))
    model.data_preprocessor = MODELS.build(config.model.data_preprocessor)
    model.dataset_meta = META
    if 'mixed' in (config.filename or ''):  # keypoints of some classes, by their names
        model.bbox_head.use_dataset(dict(classes=config.classes))
    return model


def described(name, change=None, **options):
    config = Config.fromfile(CONFIGS / name)
    if change:
        change(config)
    return describe(model_of(config), config, ExportOptions(**options))


def test_describe_every_config():
    """Every config has a size that its network takes, and can take any."""
    for path in sorted(CONFIGS.glob('**/*.py')):
        if '_base_' not in path.parts:
            check_description(path.relative_to(CONFIGS).as_posix())


def check_description(path):
    meta, free = described(path), described(path, dynamic=True, batch=None)
    divisor = 128 if 'hg' in path or 'hourglass' in path else 32
    assert meta.divisor == divisor and not any(side % divisor for side in meta.shape), path
    assert meta.transform['size'] == [*meta.shape[::-1]] and meta.batch == 1, path
    assert free.shape is None and free.batch is None, path
    is_pose, is_3d = 'pose' in path or 'mixed' in path, 'mono3d' in path or 'ddd' in path
    assert meta.task == ('pose' if is_pose else 'mono3d' if is_3d else 'detection'), path
    assert meta.inputs == (('image', 'cam2img') if is_3d else ('image',)), path
    attributes = tuple(f'attribute_{name}' for name in meta.attributes)
    assert bool(attributes) == ('attributes' in path), path
    assert meta.outputs == ('bboxes', 'scores', 'labels', *(
        ('keypoints', 'keypoint_scores') if is_pose else
        ('depth', 'alpha', 'bboxes_3d') if is_3d else attributes)), path
    assert meta.points == (('bboxes', 'keypoints') if is_pose else ('bboxes',)), path
    assert meta.needs_camera == is_3d, path
    assert meta.stride == (8 if CONFIGS / path in STRIDE_8 else 4), path
    assert meta.classes == ('a', 'b'), path
    assert meta.palette == ((1, 2, 3), (4, 5, 6)), path
    assert meta.dataset == dict(num_keypoints=2), path


def test_describe_sizes():
    pad = 'centernet_lite0_tree_crowns.py'
    assert described(pad, dynamic=True).transform == dict(
        type='CenterPad', pad_mask=31, pad_value=[0, 0, 0], scale=1.0)
    assert described(pad).shape == (512, 512)
    assert described(pad, shape=(64, 96)).transform == dict(
        type='CenterResize', fit='whole', size=[96, 64], pad_value=[0, 0, 0], scale=1.0)
    kitti = described('official/ddd_3dop.py')
    assert kitti.shape == (384, 1280) and kitti.transform['fit'] == 'width'
    assert kitti.shifts_sizes and kitti.test_cfg['score_thr'] == 0.2
    stretch = described('bubbliiiing/resnet50_voc.py')
    assert stretch.transform == dict(
        type='Resize', size=[512, 512], backend='pillow', interpolation='bicubic')
    assert stretch.test_cfg['nms'] == dict(type='nms', iou_threshold=0.3)
    assert not stretch.shifts_sizes


def sizing(**step):
    """Replace the sizing step of the test pipeline."""
    def change(config):
        config.test_dataloader.dataset.pipeline[1] = step
    return change


@pytest.mark.parametrize('change, options, words', [
    (sizing(type='mmdet.Resize', scale=(512, 512), keep_ratio=True), {}, 'keeps proportions'),
    (sizing(type='mmdet.Resize', scale_factor=2), {}, 'keeps proportions'),
    (sizing(type='mmdet.Pad', size=(512, 512)), {}, 'an exported model needs a test pipeline'),
    (None, dict(shape=(100, 64)), r'100 64 \(height, width\) .* --shape 128 64'),
    (lambda config: config.model.test_cfg.update(nms=dict(type='soft_nms')), {},
     'suppresses detections by soft_nms'),
])
def test_describe_what_cannot_be_exported(change, options, words):
    with pytest.raises(UserError, match=words):
        described('centernet_r18_dcn_140e_coco.py', change, **options)


def test_describe_deformable_convolutions():
    config = Config.fromfile(CONFIGS / 'centernet_r18_dcn_140e_coco.py')
    model = model_of(config)
    assert describe(model, config, ExportOptions()).dcn is None
    with pytest.raises(UserError, match='centernet_r18_dcn_140e_coco has no deformable conv'):
        describe(model, config, ExportOptions(dcn='deform_conv'))
    model.layer = MODELS.build(dict(
        type='mmdet_centernet.DCNv2', in_channels=2, out_channels=2, kernel_size=3))
    assert describe(model, config, ExportOptions()).dcn == 'grid_sample'
    assert describe(model, config, ExportOptions(dcn='deform_conv')).dcn == 'deform_conv'


def test_describe_input_format():
    config = Config.fromfile(CONFIGS / 'centernet_r18_dcn_140e_coco.py')
    model = model_of(config)
    found = describe(model, config, ExportOptions(kind='float')).input
    preprocessor = model.data_preprocessor
    assert found.kind == 'float' and found.to_rgb == preprocessor._channel_conversion
    assert found.mean == tuple(preprocessor.mean.flatten().tolist())
    assert found.std == tuple(preprocessor.std.flatten().tolist())
    model.data_preprocessor = nn.Identity()
    assert describe(model, config, ExportOptions()).input == InputFormat(
        'uint8', False, None, None)


class Temperature(Property):
    """Property that needs something of the image that exported models do not have."""

    image_inputs = dict(temperature='a thermometer')

    def decode(self, outputs, peaks, detections):
        return dict(warmth=peaks.scores * peaks.inputs['temperature'].mean())


def test_describe_unknown_inputs_of_properties():
    config = Config.fromfile(CONFIGS / 'centernet_r18_dcn_140e_coco.py')
    config.model.bbox_head.properties = [Temperature()]
    model = model_of(config)
    with pytest.raises(UserError, match='needs temperature of every image, but exported models'):
        describe(model, config, ExportOptions())
    assert describe(model, config, ExportOptions(raw=True)).inputs == ('image',)
