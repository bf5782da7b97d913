"""Resolution and test-time augmentation as changes of a config."""
import copy

import pytest
from mmengine.config import Config
from tiny_project import ROOT

from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.overrides import apply_test_options
from mmdet_centernet.inference.tta import SCALES

COCO = ROOT / 'configs' / 'centernet_r18_dcn_140e_coco.py'
VOC = ROOT / 'configs' / 'centernet_r18_dcn_70e_voc0712.py'
PAD, RESIZE = 'mmdet_centernet.CenterPad', 'mmdet_centernet.CenterResize'


def make_config(*transforms, train=(), backbone='mmdet.ResNet', **others):
    """A config with these test transforms between loading and packing."""
    def pipeline(middle):
        return [dict(type='mmdet_centernet.LoadImage'), *middle,
                dict(type='mmdet.PackDetInputs')]
    return Config(dict(
        model=dict(type='mmdet_centernet.CenterNet', backbone=dict(type=backbone),
                   bbox_head=dict(type='mmdet_centernet.CenterNetHead')),
        train_dataloader=dict(dataset=dict(dataset=dict(pipeline=pipeline(train)))),
        test_dataloader=dict(dataset=dict(pipeline=pipeline(transforms))), **others))


def types_of(config):
    return [transform['type'] for transform in config.test_dataloader.dataset.pipeline]


def test_nothing_asked_nothing_changed():
    config = Config.fromfile(COCO)
    before = config.to_dict()
    apply_test_options(config)
    assert config.to_dict() == before


def test_asking_for_what_is_there_changes_nothing():
    for path, resolution in ((COCO, 'keep'), (VOC, 'fix')):
        config = Config.fromfile(path)
        before = config.to_dict()
        apply_test_options(config, resolution)
        assert config.to_dict() == before


def test_keep():
    config = Config.fromfile(VOC)
    before = types_of(config)
    apply_test_options(config, 'keep')
    pipeline = config.test_dataloader.dataset.pipeline
    assert pipeline[1] == dict(type=PAD, pad_mask=31)
    assert types_of(config) == [before[0], PAD, *before[2:]]


def test_keep_pads_more_for_the_hourglass():
    config = make_config(dict(type=RESIZE, pad_value=7), backbone='mmdet.HourglassNet')
    apply_test_options(config, 'keep')
    assert config.test_dataloader.dataset.pipeline[1] == dict(
        type=PAD, pad_mask=127, pad_value=7)


@pytest.mark.parametrize('train, size', [
    (dict(type='mmdet_centernet.CenterAffine', crop_size=(320, 256)), (320, 256)),
    (dict(type='mmdet_centernet.CenterResize', size=(64, 96)), (64, 96)),
    # MMDetection's is (height, width).
    (dict(type='mmdet.RandomCenterCropPad', crop_size=(256, 320)), (320, 256)),
    (dict(type='mmdet.RandomFlip', prob=0.5), (512, 512))])
def test_fix_takes_the_size_of_the_training_crops(train, size):
    config = make_config(dict(type=PAD, pad_mask=31), train=[train])
    apply_test_options(config, 'fix')
    assert config.test_dataloader.dataset.pipeline[1] == dict(type=RESIZE, size=size)
    config = make_config(dict(type=PAD))
    config.train_dataloader = None
    apply_test_options(config, 'fix')
    assert config.test_dataloader.dataset.pipeline[1].size == (512, 512)


def test_a_stretch_becomes_a_fit_of_the_same_size():
    for resolution, expected in (('fix', dict(type=RESIZE, size=(416, 352))),
                                 ('keep', dict(type=PAD, pad_mask=31))):
        config = make_config(dict(type='mmdet.Resize', scale=(416, 352)))
        apply_test_options(config, resolution)
        assert config.test_dataloader.dataset.pipeline[1] == expected


def test_data_sets_within_data_sets():
    inner = dict(pipeline=[dict(type=PAD)])
    config = make_config()
    config.test_dataloader.dataset = dict(datasets=[dict(dataset=inner), inner])
    apply_test_options(config, 'fix')
    first, second = config.test_dataloader.dataset.datasets
    assert first.dataset.pipeline[0].type == second.pipeline[0].type == RESIZE


def test_flip():
    config = make_config(dict(type=PAD, pad_mask=63), dict(type='mmdet.LoadAnnotations'))
    model = config.model.to_dict()
    apply_test_options(config, tta='flip')
    assert config.model == dict(
        type='mmdet_centernet.CenterNetTTAModel', module=model, flip=True)
    assert config.test_dataloader.dataset.pipeline == config.tta_pipeline == [
        dict(type='mmdet_centernet.LoadImage'),
        dict(type=PAD, pad_mask=63), dict(type='mmdet.LoadAnnotations'),
        dict(type='TestTimeAug', transforms=[[dict(type='mmdet.PackDetInputs')]])]


@pytest.mark.parametrize('name, pad_mask', [('multi_pose_dla_1x', 31), ('multi_pose_hg_1x', 127)])
def test_pose_is_tested_as_boxes_are(name, pad_mask):
    """Joints are loaded after the sizing, at every scale, and packed last."""
    path = ROOT / 'configs' / 'official' / f'{name}.py'
    config = Config.fromfile(path)
    apply_test_options(config, 'fix', 'ms')
    sizing, *others = config.test_dataloader.dataset.pipeline[1].transforms
    assert [(each.type, each.size, each.scale) for each in sizing] == [
        (RESIZE, (512, 512), scale) for scale in SCALES]
    assert [each[0].type.rpartition('.')[2] for each in others] == [
        'LoadAnnotations', 'LoadKeypoints', 'PackPoseInputs']
    apply_test_options(config := Config.fromfile(path), 'keep', 'flip')
    loading, sizing, boxes, joints, tta = config.test_dataloader.dataset.pipeline
    assert sizing == dict(type=PAD, pad_mask=pad_mask)
    assert tta.transforms[0][0].type == 'mmdet_centernet.PackPoseInputs'
    assert config.model.module.bbox_head.type == 'mmdet_centernet.CenterNetPoseHead'
    config = Config.fromfile(path)
    apply_test_options(config, 'fix')
    apply_test_options(config, 'keep')
    assert config.test_dataloader.dataset == Config.fromfile(path).test_dataloader.dataset


def test_flip_goes_with_any_sizing():
    config = make_config(dict(type='mmdet.Resize', scale=(64, 64)))
    apply_test_options(config, tta='flip')
    assert types_of(config) == ['mmdet_centernet.LoadImage', 'mmdet.Resize', 'TestTimeAug']


def test_ms():
    config = Config.fromfile(VOC)
    apply_test_options(config, 'keep', 'ms')
    assert config.model.type == 'mmdet_centernet.CenterNetTTAModel'
    assert config.test_dataloader.dataset.pipeline == config.tta_pipeline
    sizing, *others = config.test_dataloader.dataset.pipeline[1].transforms
    assert [each.scale for each in sizing] == list(SCALES)
    assert all(each.type == PAD for each in sizing)
    assert [len(each) for each in others] == [1, 1]


def test_tta_model_of_the_config():
    nms = dict(type='nms', iou_threshold=0.3)
    config = make_config(dict(type=RESIZE, scale=2), tta_model=dict(
        type='my.TTAModel', flip=False, nms=nms))
    apply_test_options(config, tta='ms')
    assert config.model.type == 'my.TTAModel'
    assert (config.model.flip, config.model.nms) == (False, nms)
    sizing = config.test_dataloader.dataset.pipeline[1].transforms[0]
    assert [each.scale for each in sizing] == [2 * scale for scale in SCALES]
    config = make_config(dict(type=PAD), tta_model=dict(flip=False, nms=nms))
    apply_test_options(config, tta='flip')
    assert (config.model.flip, config.model.nms) == (True, nms)


def tta_pipeline(*scales, kind=PAD, **options):
    return [
        dict(type='mmdet_centernet.LoadImage'),
        dict(type='mmcv.TestTimeAug', transforms=[
            [dict(type=kind, scale=scale, **options) for scale in scales],
            [dict(type='mmdet.PackDetInputs')]])]


def test_tta_of_the_config():
    """What MMDetection's tools/test.py makes of the config."""
    pipeline = tta_pipeline(1.0, 2.0)
    config = make_config(dict(type=PAD), tta_model=dict(type='my.TTAModel', flip=False),
                         tta_pipeline=pipeline)
    model = config.model.to_dict()
    apply_test_options(config, tta='config')
    assert config.model == dict(type='my.TTAModel', flip=False, module=model)
    assert config.test_dataloader.dataset.pipeline == pipeline
    # Without a tta_model it is this package's.
    config = make_config(dict(type=PAD), tta_pipeline=pipeline)
    apply_test_options(config, tta='config')
    assert config.model == dict(type='mmdet_centernet.CenterNetTTAModel', module=model)


def test_tta_of_the_config_reaches_data_sets_within_data_sets():
    config = make_config(dict(type=PAD), tta_pipeline=tta_pipeline(1.0))
    inner = config.test_dataloader.dataset.to_dict()
    config.test_dataloader.dataset = dict(
        datasets=[dict(dataset=inner), copy.deepcopy(inner)])
    apply_test_options(config, tta='config')
    first, second = config.test_dataloader.dataset.datasets
    assert first.dataset.pipeline == second.pipeline == tta_pipeline(1.0)
    assert first.dataset.pipeline[1] is not second.pipeline[1]  # TestTimeAug changes its own


@pytest.mark.parametrize('resolution, pipeline, expected', [
    ('fix', tta_pipeline(0.5, 1.0), tta_pipeline(0.5, 1.0, kind=RESIZE, size=(512, 512))),
    ('keep', tta_pipeline(0.5, 1.0), tta_pipeline(0.5, 1.0)),
    ('keep', tta_pipeline(2, kind=RESIZE, pad_value=7),
     tta_pipeline(2, pad_mask=31, pad_value=7)),
    ('fix', [dict(type=PAD), dict(type='TestTimeAug', transforms=[[dict(type='Pack')]])],
     [dict(type=RESIZE, size=(512, 512)),
      dict(type='TestTimeAug', transforms=[[dict(type='Pack')]])])])
def test_resolution_of_the_configs_tta(resolution, pipeline, expected):
    config = make_config(dict(type=PAD), tta_pipeline=pipeline)
    apply_test_options(config, resolution, 'config')
    assert config.test_dataloader.dataset.pipeline == expected
    # An unused one, which may size images in another way, is left alone.
    config = make_config(dict(type=PAD), tta_pipeline=[dict(type='my.Sizing')])
    apply_test_options(config, resolution)
    assert config.tta_pipeline == [dict(type='my.Sizing')]


def without(key):
    config = make_config(dict(type=PAD))
    config[key] = None
    return config


def with_head(kind, **options):
    config = make_config(dict(type=PAD))
    config.model.bbox_head = dict(type=kind, **options)
    return config


@pytest.mark.parametrize('config, options, words', [
    (make_config(dict(type=PAD)), dict(resolution='half'), "resolution='half' is unknown"),
    (make_config(dict(type=PAD)), dict(tta='both'), "tta='both' is unknown"),
    (without('test_dataloader'), dict(tta='flip'), 'no test_dataloader'),
    (make_config(dict(type='mmdet.Resize')), dict(tta='ms'),
     r"tta='ms' needs .* config's has 0 .*mmdet\.Resize"),
    (make_config(), dict(resolution='fix'), "resolution='fix' needs .* has 0"),
    (make_config(dict(type=PAD), dict(type=RESIZE)), dict(resolution='fix'), 'has 2'),
    (make_config(dict(type=PAD)), dict(tta='config'), 'has no tta_pipeline: add one'),
    (make_config(dict(type=PAD), tta_pipeline=[dict(type=PAD)]), dict(tta='config'),
     'no tta_pipeline that ends in TestTimeAug'),
    (make_config(dict(type=PAD), tta_pipeline=[dict(type='my.Sizing')]),
     dict(resolution='fix', tta='config'), "resolution='fix' needs .* has 0"),
    (with_head('mmdet_centernet.CenterNetMono3DHead'), dict(tta='ms'), "tta='ms' is not for 3D"),
    (with_head('mmdet_centernet.CenterHead', properties=[dict(type='mmdet_centernet.Box'), dict(
        type='mmdet_centernet.Boxes3D')]), dict(tta='ms'), "tta='ms' is not for 3D"),
    (with_head('mmdet.RetinaHead'), dict(tta='flip'), 'has mmdet.RetinaHead: test it without'),
    (with_head('mmdet.NoHead'), dict(tta='flip'), 'has mmdet.NoHead: test it without')])
def test_what_cannot_be(config, options, words):
    before = config.to_dict()
    with pytest.raises(UserError, match=words):
        apply_test_options(config, **options)
    assert config.to_dict() == before


def test_model_without_a_head_of_its_own():
    config = make_config(dict(type=PAD))
    config.model = dict(type='mmdet.FasterRCNN', roi_head=dict())
    with pytest.raises(UserError, match='mmdet.FasterRCNN has no bbox_head'):
        apply_test_options(config, tta='ms')
    # Wrapped by the config itself, or for the second time.
    config = make_config(dict(type=PAD))
    apply_test_options(config, tta='flip')
    with pytest.raises(UserError, match='CenterNetTTAModel has no bbox_head'):
        apply_test_options(config, tta='flip')
