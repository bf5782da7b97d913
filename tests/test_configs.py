"""Every config: it loads, names the right classes, builds, and carries nothing unused."""
import ast
import inspect
import re

import pytest
import torch
import yaml
from helpers.configs import ALL, CONFIGS, FINAL, STRIDE_8, config_id, passes_of, wrong_types
from mmengine import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mmdet_centernet.engine.config import RUN_HOOKS
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.overrides import apply_test_options
from mmdet_centernet.inference.tta import SCALES
from mmdet_centernet.models.properties import LTRB, Keypoints
from mmdet_centernet.models.test_time_augs.centernet_tta import SOFT_NMS

PROMISED = {
    'centernet_r18_dcn_140e_coco', 'centernet_r18_140e_coco', 'centernet_r18_dcn_70e_voc0712',
    'centernet_r18_dcn_ema_140e_coco', 'centernet_lite0_140e_coco',
    'centernet_lite0_tree_crowns', 'centernet_r18_dcn_tree_crowns', 'centernet_lite0_attributes',
    'centernet_r50_dcn_140e_coco', 'centernet_r101_dcn_140e_coco', 'centernet_dla34_140e_coco',
    'centernet_dla34_230e_coco', 'centernet_hg104_50e_coco', 'centernet_r50_dlaup_140e_coco',
    'centernet_r50_dcn_100e_voc0712', 'official/ctdet_coco_res18',
    'official/ctdet_coco_resdcn18', 'official/ctdet_coco_resdcn101',
    'official/ctdet_coco_dla_1x', 'official/ctdet_coco_dla_2x', 'official/ctdet_coco_hg',
    'official/ctdet_pascal_dla_384', 'official/ctdet_pascal_dla_512',
    'official/ctdet_pascal_resdcn18_384', 'official/ctdet_pascal_resdcn18_512',
    'official/ctdet_pascal_resdcn101_384', 'official/ctdet_pascal_resdcn101_512',
    'bubbliiiing/resnet50_voc', 'bubbliiiing/hourglass_coco', 'centernet_pose_dla34_140e_coco',
    'centernet_pose_r50_dlaup_140e_coco', 'centernet_pose_lite0_140e_coco',
    'centernet_pose_lite0_figures', 'centernet_lite0_mixed',
    *(f'official/multi_pose_{net}_{length}' for net in ('dla', 'hg') for length in ('1x', '3x')),
    'centernet_mono3d_dla34_70e_kitti', 'centernet_mono3d_lite0_70e_kitti',
    'centernet_mono3d_lite0_road_scenes', 'official/ddd_3dop', 'official/ddd_sub',
    *(f'plus/centernet_mono3d_plus_{name}' for name in (
        'dla34_kitti', 'lite0_kitti', 'lite0_road_scenes')),
    *(f'plus/centernet_plus_{net}_coco' for net in ('dla34', 'lite0', 'r18', 'r50')),
    'plus/centernet_plus_lite0_own_data', 'plus/centernet_plus_lite0_tree_crowns'}
MIXED = CONFIGS / 'centernet_lite0_mixed.py'  # composed: some classes have keypoints
POSE = [path for path in FINAL if 'pose' in path.stem or path == MIXED]
MONO3D = [path for path in FINAL if 'mono3d' in path.stem or 'ddd' in path.stem]
# What mmengine reads from a config: the Runner's arguments, the config machinery's own, and
# what tools read.
KNOWN_KEYS = {
    *inspect.signature(Runner).parameters, '_base_', 'custom_imports', 'auto_scale_lr',
    'log_level', 'launcher', 'tta_model', 'tta_pipeline'}


def test_the_lint_finds_a_forgotten_prefix():
    cfg = dict(
        model=dict(type='CenterNet', bbox_head=dict(type='mmdet_centernet.CenterNetHead')),
        pipelines=[[dict(type='mmdet_centernet.CentreAffine')], [dict(type='Resize')]])
    assert list(wrong_types(cfg)) == [
        "model: 'CenterNet' is also mmdet_centernet's: write the scope that is meant",
        'pipelines[0][0]: there is no mmdet_centernet.CentreAffine']


def test_what_was_promised_is_there():
    assert {config_id(path) for path in FINAL} >= PROMISED


def test_types_exist_and_have_a_scope():
    faults = {config_id(path): list(wrong_types(Config.fromfile(path).to_dict()))
              for path in FINAL}
    assert {name: lines for name, lines in faults.items() if lines} == {}


BUILT = {}


def built(cfg):
    """A config's model without storage, and the shapes of its stacks' outputs for an image of
    128 x 256 pixels. Equal models are built once."""
    key = str(cfg.model)
    if key not in BUILT:
        with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
            model = MODELS.build(cfg.model).to('meta')
            outputs, = model(torch.empty(1, 3, 128, 256), mode='tensor')
        BUILT[key] = model, [
            {name: tuple(value.shape) for name, value in output.items()} for output in outputs]
    return BUILT[key]


@pytest.mark.parametrize('path', FINAL, ids=config_id)
def test_model_builds(path):
    cfg = Config.fromfile(path)
    model, outputs = built(cfg)
    assert len(outputs) == cfg.model.bbox_head.get('num_stacks', 1)
    properties = cfg.model.bbox_head.get('properties', ())
    counts = {each.get('name', 'keypoint'): each.num_keypoints for each in properties
              if each.type == 'mmdet_centernet.Keypoints'}
    if path in POSE and path != MIXED:
        counts = dict(keypoint=model.bbox_head.find_property(Keypoints).num_keypoints)
    boxes = dict(ltrb=4) if model.bbox_head.find_property(LTRB) else dict(wh=2, offset=2)
    channels = dict(boxes, heatmap=model.bbox_head.num_classes, **{
        f'attribute_{each.name}': each.get('num_classes', 1) for each in properties
        if each.type == 'mmdet_centernet.Attribute'})
    for name, count in counts.items():
        channels.update({f'{name}_displacement': 2 * count, f'{name}_heatmap': count,
                         f'{name}_offset': 2})
    if path in MONO3D:
        head = cfg.model.bbox_head
        channels.update(depth=2 if head.get('depth_uncertainty') else 1, dims=3,
                        orientation=2 * head.get('orientation_bins', 4))
        if head.get('with_location_offset'):
            channels.update(location_offset=2)
        if head.get('aux_corners'):
            channels.update(corners=16)
    # A map of the coder's stride, a quarter of the input's size but in few configs, of each stack.
    stride = model.bbox_head.coder.stride
    assert stride == (8 if path in STRIDE_8 else 4)
    size = 128 // stride, 256 // stride
    expected = {name: (1, count, *size) for name, count in channels.items()}
    assert all(output == expected for output in outputs)
    assert type(model).__module__.startswith('mmdet_centernet.')
    classes = cfg.train_dataloader.dataset.get('dataset', cfg.train_dataloader.dataset).get(
        'metainfo', {}).get('classes')
    if classes is not None:
        assert model.bbox_head.num_classes == len(classes)


def test_the_plugin_is_imported_and_a_comment_tells_the_origin():
    for path in FINAL:
        cfg = Config.fromfile(path)
        assert cfg.default_scope == 'mmdet', path
        assert cfg.custom_imports == dict(
            imports=['mmdet_centernet'], allow_failed_imports=False), path
        assert path.read_text().startswith('#'), path


def test_no_name_is_assigned_in_vain():
    """A top-level name is read by mmengine, by the config itself or by one that inherits.

    The latter may also be an example of the docs.
    """
    pages = (CONFIGS.parent / 'docs').glob('*.md')
    inherited = {
        name for path in (*ALL, *pages)
        for name in re.findall(r'_base_\.(\w+)', path.read_text())}
    unused = {}
    for path in ALL:
        tree = ast.parse(path.read_text())
        assigned = {
            target.id for node in tree.body if isinstance(node, ast.Assign)
            for target in node.targets if isinstance(target, ast.Name)}
        used = {
            node.id for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        unused[config_id(path)] = assigned - KNOWN_KEYS - used - inherited
    assert {name: names for name, names in unused.items() if names} == {}


def bases_of(path):
    """The files that a config names as its ``_base_``."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            bases = ast.literal_eval(node.value)
            return [(path.parent / base).resolve()
                    for base in ([bases] if isinstance(bases, str) else bases)]
    return []


def levels_of(path):
    """The length of a config's longest chain of inheritance, itself included."""
    return 1 + max(map(levels_of, bases_of(path)), default=0)


def all_bases_of(path):
    """Every file that a config inherits from, directly or not."""
    return {found for base in bases_of(path) for found in ({base} | all_bases_of(base))}


def test_inheritance_is_at_most_three_levels_deep(tmp_path):
    deep = {config_id(path): levels for path in ALL if (levels := levels_of(path)) > 3}
    assert deep == {}
    # The count counts.
    folder = tmp_path / 'chain'
    folder.mkdir()
    (folder / 'a.py').write_text('')
    (folder / 'b.py').write_text("_base_ = './a.py'\n")
    (folder / 'c.py').write_text("_base_ = ['./a.py', './b.py']\n")
    assert levels_of(folder / 'c.py') == 3 and len(all_bases_of(folder / 'c.py')) == 2


def test_each_architecture_has_one_primitive():
    """Of a family's models exactly one has no base, and no other family's is inherited from."""
    models = sorted((CONFIGS / '_base_/models').glob('*.py'))
    primitives = {path for path in models if not bases_of(path)}
    assert {path.stem for path in primitives} == {
        'centernet_r18_dcn', 'centernet_dla34', 'centernet_hg104', 'centernet_lite0_dlaup',
        'centernet_r50_dlaup'}
    kinds = {}
    for path in (*models, *FINAL):
        model = Config.fromfile(path).model
        kinds[path] = (model.backbone.type, (model.neck or {}).get('type'))
    # A ResNet whose strides are where Caffe has them.
    kinds[CONFIGS / 'bubbliiiing/resnet50_voc.py'] = kinds[
        CONFIGS / '_base_/models/centernet_r18_dcn.py']
    assert len({kinds[path] for path in primitives}) == len(primitives)
    for path in (*models, *FINAL):
        for base in all_bases_of(path) & set(models):
            assert kinds[base] == kinds[path], (path, base)


def test_only_the_official_configs_inherit_from_official_bases():
    for path in FINAL:
        if path.parent.name != 'official':
            assert not any(base.stem.startswith('official_') for base in all_bases_of(path)), path


def test_configs_state_their_difference():
    """Loaders are described once, and no base is unpacked into another dictionary."""
    for path in ALL:
        tree = ast.parse(path.read_text())
        unpacked = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)
                    and None in node.keys]
        unpacked += [node for node in ast.walk(tree) if isinstance(node, ast.keyword)
                     and node.arg is None]
        assert not unpacked, path
        if path.name != 'default_data.py':
            assert not any(word in path.read_text() for word in (
                'persistent_workers=', 'sampler=')), path


@pytest.mark.parametrize('one, other, differences', [
    ('coco_detection', 'coco_detection_pad127', dict(pad_mask=(31, 127))),
    ('coco_pose', 'coco_pose_pad127', dict(pad_mask=(31, 127))),
    ('voc0712', 'voc0712_512', {
        name: ((384, 384), (512, 512)) for name in ('input_size', 'crop_size', 'size')})])
def test_variants_of_a_data_set_differ_in_nothing_else(one, other, differences):
    def replaced(node, key=None):
        if isinstance(node, dict):
            return {name: replaced(value, name) for name, value in node.items()}
        if key in differences and node == differences[key][0]:
            return differences[key][1]
        if isinstance(node, (list, tuple)):
            return type(node)(replaced(value) for value in node)
        return node
    one, other = (Config.fromfile(CONFIGS / f'_base_/datasets/{name}.py').to_dict()
                  for name in (one, other))
    assert one != other
    assert replaced(one) == other


def test_no_config_has_to_list_the_hooks_that_tools_add():
    """But for the skeleton's hook, without which other tools could not flip people."""
    for path in FINAL:
        listed = {hook.type.rpartition('.')[2]
                  for hook in Config.fromfile(path).get('custom_hooks', [])}
        assert listed & set(RUN_HOOKS) == ({'SkeletonHook'} if path in POSE else set()), path


def test_names_and_metafile_count_passes_over_the_images():
    models = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())['Models']
    for model in models:
        passes = passes_of(Config.fromfile(CONFIGS / f'{model["Name"]}.py'))
        assert model['Metadata']['Epochs'] == passes, model['Name']
        in_name = re.search(r'_(\d+)e(_|$)', model['Name'])
        assert in_name is None or int(in_name[1]) == passes, model['Name']
    for path in (CONFIGS / '_base_/schedules').glob('*.py'):
        # Where the data repeat themselves, the file says which epochs MMEngine counts.
        in_name = re.search(r'_(\d+)e', path.stem)
        epochs = Config.fromfile(path).train_cfg.max_epochs
        if in_name and int(in_name[1]) != epochs:
            assert f'epoch_{epochs}.pth' in path.read_text(), path


def test_every_checkpoint_that_a_page_names_is_written():
    """A path such as work_dirs/CONFIG/epoch_28.pth ends in the last epoch of that config."""
    found = set()
    pages = [*CONFIGS.rglob('*.py'), *CONFIGS.rglob('*.md'), CONFIGS.parent / 'README.md',
             *(CONFIGS.parent / 'docs').glob('*.md')]
    for page in pages:
        found |= set(re.findall(r'work_dirs/([\w/]+)/epoch_(\d+)\.pth', page.read_text()))
    assert found
    for name, epoch in found:
        if (CONFIGS / f'{name}.py').exists():
            cfg = Config.fromfile(CONFIGS / f'{name}.py')
            assert int(epoch) == cfg.train_cfg.max_epochs, (name, epoch)


def test_the_metafile_lists_them_all():
    index = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
    assert [model['Config'] for model in index['Models']] == [
        f'configs/{config_id(path)}.py' for path in FINAL]
    assert all(f'configs/{model["Name"]}.py' == model['Config'] for model in index['Models'])


def rows_of(table):
    """Cells of the tables' rows that begin with a config."""
    for line in table.splitlines():
        if line.startswith('| [`'):
            yield [cell.strip() for cell in line.strip('|').split('|')]


def training_size(pipeline):
    """What the network sees in training, as the tables write it."""
    for step in pipeline:
        if 'crop_size' in step:
            return str(step.crop_size[0])
        if 'size' in step:
            return ' x '.join(map(str, step['size']))


def test_the_model_zoo_lists_them_all_as_they_are():
    names = []
    for row in rows_of((CONFIGS.parent / 'docs/model_zoo.md').read_text()):
        name, file = re.fullmatch(r'\[`(.+)`\]\((.+)\)', row[0]).groups()
        names.append(name)
        assert file == f'../configs/{name}.py'
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        dataset = cfg.train_dataloader.dataset
        dataset = dataset.get('dataset', dataset)
        dataset = dataset.get('datasets', [dataset])[0]
        optimizer = cfg.optim_wrapper.optimizer
        assert row[2:6] == [
            str(passes_of(cfg)), training_size(dataset.pipeline),
            str(cfg.auto_scale_lr.base_batch_size), f'{optimizer.type} {optimizer.lr:g}'], name
    assert sorted(names) == sorted(map(config_id, FINAL))


def test_the_readme_lists_them_all_as_they_are():
    """With the backbones and published figures of the model zoo."""
    zoo = {row[0].partition(']')[0][2:-1]: row for row in rows_of(
        (CONFIGS.parent / 'docs/model_zoo.md').read_text())}
    names = []
    for row in rows_of((CONFIGS / 'README.md').read_text()):
        name, file = re.fullmatch(r'\[`(.+)`\]\((.+)\)', row[0]).groups()
        names.append(name)
        assert file == f'{name}.py'
        cfg = Config.fromfile(CONFIGS / file)
        epochs, passes = cfg.train_cfg.max_epochs, passes_of(cfg)
        whole, images = cfg.auto_scale_lr.base_batch_size, cfg.train_dataloader.batch_size
        assert whole % images == 0, name
        times = '' if passes == epochs else f' = {epochs} x {passes // epochs}'
        published = zoo[name][6].replace('](', '](../docs/')
        assert row[1:] == [zoo[name][1], f'{whole // images} x {images}', zoo[name][3],
                           f'{passes}{times}', f'`epoch_{epochs}.pth`', published], name
    assert sorted(names) == sorted(map(config_id, FINAL))


# Of the original's scripts and option defaults: images a step, rate, epochs, the epochs after
# which the rate is divided by 10, crop; with the mends that the configs tell of.
OFFICIAL = {
    'ctdet_coco_res18': (32, 1.25e-4, 70, [45, 60], 512),
    'ctdet_coco_resdcn18': (114, 5e-4, 140, [90, 120], 512),
    'ctdet_coco_resdcn101': (96, 3.75e-4, 140, [90, 120], 512),
    'ctdet_coco_dla_1x': (128, 5e-4, 140, [90, 120], 512),
    'ctdet_coco_dla_2x': (128, 5e-4, 230, [180, 210], 512),
    'ctdet_coco_hg': (24, 2.5e-4, 50, [40], 512),
    'multi_pose_dla_1x': (128, 5e-4, 140, [90, 120], 512),
    'multi_pose_dla_3x': (128, 5e-4, 320, [270, 300], 512),
    'multi_pose_hg_1x': (24, 2.5e-4, 50, [40], 512),
    'multi_pose_hg_3x': (24, 2.5e-4, 150, [130], 512),
    **{f'ctdet_pascal_{net}_{side}': (32, 1.25e-4, 70, [45, 60], side)
       for net in ('dla', 'resdcn18', 'resdcn101') for side in (384, 512)}}


@pytest.mark.parametrize('name', OFFICIAL)
def test_official_recipe(name):
    batch, rate, epochs, drops, side = OFFICIAL[name]
    cfg = Config.fromfile(CONFIGS / f'official/{name}.py')
    coco, pose = '_pascal_' not in name, 'pose' in name
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert batch % cfg.train_dataloader.batch_size == 0
    assert cfg.optim_wrapper.to_dict() == dict(
        type='OptimWrapper', optimizer=dict(type='Adam', lr=rate))
    assert cfg.train_cfg.max_epochs == epochs
    scheduler, = cfg.param_scheduler
    assert scheduler.milestones == drops
    assert (scheduler.type, scheduler.gamma, scheduler.end) == ('MultiStepLR', 0.1, epochs)
    # The original's statistics are of values in [0, 1], of channels in the order of BGR.
    mean, std = ((0.40789654, 0.44719302, 0.47026115), (0.28863828, 0.27408164, 0.27809835)) \
        if coco else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.mean == pytest.approx([255 * value for value in mean], rel=1e-9)
    assert preprocessor.std == pytest.approx([255 * value for value in std], rel=1e-9)
    assert preprocessor.bgr_to_rgb is False
    head = cfg.model.bbox_head
    weight = 0.5 if '_hg' in name else 1  # losses of two stacks are averaged there
    weights = {key: loss.loss_weight for key, loss in head.items() if key.startswith('loss_')}
    joints = ('keypoint_displacement', 'keypoint_heatmap', 'keypoint_offset') if pose else ()
    assert weights == dict(
        {f'loss_{part}': weight for part in ('center_heatmap', 'offset', *joints)},
        loss_wh=0.1 * weight)
    assert head.loss_center_heatmap.min_probability == 1e-4
    assert [head.coder[key] for key in ('stride', 'radius', 'min_overlap', 'shared_cells')] == [
        4, 'official', 0.7, 'all']
    if pose:
        assert head.num_keypoints == 17
        assert head.loss_keypoint_heatmap == head.loss_center_heatmap
    else:
        assert head.normalizer == 'objects'
    assert head.num_classes == (1 if pose else 80 if coco else 20)
    assert head.feat_channels == (64 if 'res' in name else 256)
    datasets = cfg.train_dataloader.dataset.get('datasets', [cfg.train_dataloader.dataset])
    for dataset in datasets:
        crop, = (step.crop_size for step in dataset.pipeline if 'crop_size' in step)
        assert crop == (side, side)
        if pose:
            assert dataset.type == 'mmdet_centernet.CocoPoseDataset'
            # Its file holds people alone: who has no annotation has nobody in it.
            assert dataset.filter_cfg == dict(filter_empty_gt=True)
            assert dataset.get('crowd_as_objects', True)
        elif coco:
            assert dataset.crowd_as_objects and dataset.filter_cfg is None
    sizing = [step.to_dict() for step in cfg.test_dataloader.dataset.pipeline
              if 'Center' in step.type]
    assert sizing == [
        dict(type='mmdet_centernet.CenterPad', pad_mask=127 if 'hg' in name else 31) if coco
        else dict(type='mmdet_centernet.CenterResize', size=(side, side))]
    assert cfg.val_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline
    detector = 'ctdet_coco_hg' if '_hg' in name else 'ctdet_coco_dla_2x'
    assert cfg.load_from == (f'data/pretrained/{detector}.pth' if pose else None)


@pytest.mark.parametrize('name', ['3dop', 'sub'])
def test_official_3d_recipe(name):
    """Of the original's experiments/ddd_*.sh and option defaults."""
    cfg = Config.fromfile(CONFIGS / f'official/ddd_{name}.py')
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.optim_wrapper.to_dict() == dict(
        type='OptimWrapper', optimizer=dict(type='Adam', lr=1.25e-4))
    scheduler, = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, scheduler.milestones) == (70, [45, 60])
    # ImageNet's statistics, of RGB, are applied to BGR.
    preprocessor = cfg.model.data_preprocessor
    assert preprocessor.mean == pytest.approx([255 * value for value in (0.485, 0.456, 0.406)])
    assert preprocessor.std == pytest.approx([255 * value for value in (0.229, 0.224, 0.225)])
    assert preprocessor.bgr_to_rgb is False
    head = cfg.model.bbox_head
    weights = {key: loss.loss_weight for key, loss in head.items() if key.startswith('loss_')}
    assert weights == dict(
        {f'loss_{part}': 1 for part in (
            'center_heatmap', 'depth', 'dims', 'orientation', 'offset')}, loss_wh=0.1)
    assert head.loss_center_heatmap.min_probability == 1e-4
    assert (head.normalizer, head.max_objects, head.num_classes, head.feat_channels) == (
        'slots', 50, 3, 256)
    assert [head.coder[key] for key in (
        'stride', 'radius', 'min_overlap', 'shared_cells', 'ignore')] == [
            4, 'official', 0.7, 'all', 'center']
    assert (cfg.model.test_cfg.score_thr, cfg.model.test_cfg.shift_sizes) == (0.2, True)
    folder = 'ImageSets_3dop' if name == '3dop' else 'ImageSets_subcnn'
    for loader, split in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'val')):
        assert loader.dataset.type == 'mmdet_centernet.KittiMono3DDataset'
        assert loader.dataset.ann_file == f'{folder}/{split}.txt'
    assert cfg.val_evaluator.split_file.endswith(f'{folder}/val.txt')
    affine, = (step for step in cfg.train_dataloader.dataset.pipeline if 'Affine' in step.type)
    assert (affine.type, affine.size, affine.get('flip_prob', 0), affine.get('fit', 'width')) == (
        'mmdet_centernet.CenterAffine3D', (1280, 384), 0, 'width')
    assert not any('Color' in step.type for step in cfg.train_dataloader.dataset.pipeline)
    resize, = (step for step in cfg.test_dataloader.dataset.pipeline if 'Resize' in step.type)
    assert resize.to_dict() == dict(
        type='mmdet_centernet.CenterResize', size=(1280, 384), fit='width')


def test_pose_configs_load_measure_and_draw_keypoints():
    assert POSE
    for path in POSE:
        cfg = Config.fromfile(path)
        dataset = cfg.train_dataloader.dataset
        train = [
            step.type.rpartition('.')[2] for step in dataset.get('dataset', dataset).pipeline]
        test = [step.type.rpartition('.')[2] for step in cfg.test_dataloader.dataset.pipeline]
        assert train[:4] == [
            'LoadImage', 'LoadAnnotations', 'LoadKeypoints', 'CenterAffine'], path
        assert test[2:] == ['LoadAnnotations', 'LoadKeypoints', 'PackPoseInputs'], path
        assert train[-1] == 'PackPoseInputs', path
        evaluators = cfg.test_evaluator if path == MIXED else [cfg.test_evaluator]
        assert evaluators[0].type == 'mmdet_centernet.CocoKeypointMetric', path
        if path == MIXED:  # the boxes of all classes by MMDetection's metric
            assert [each.type for each in evaluators[1:]] == ['mmdet.CocoMetric']
        else:
            assert evaluators[0].metric == ['keypoints', 'bbox'], path
        for evaluator in evaluators:
            assert evaluator.ann_file == (
                cfg.data_root + cfg.test_dataloader.dataset.ann_file), path
        assert cfg.visualizer.type == 'mmdet_centernet.PoseLocalVisualizer', path


@pytest.mark.parametrize('path', FINAL, ids=config_id)
def test_every_config_can_be_tested_as_in_the_paper(path):
    """But for the scales of those that stretch the image or tell distances."""
    for resolution, tta in (
            (None, 'config'), ('fix', 'config'), (None, 'flip'), (None, 'ms'), ('keep', 'ms'),
            ('fix', 'ms')):
        cfg = Config.fromfile(path)
        detector = cfg.model.to_dict()
        if path.parent.name == 'bubbliiiing' and (resolution, tta) == (None, 'ms'):
            with pytest.raises(UserError, match='CenterResize'):
                apply_test_options(cfg, resolution, tta)
            continue
        if path in MONO3D and tta == 'ms':
            # Images that are shown as one camera sees them have no resolution of their own.
            with pytest.raises(UserError, match="tta='ms'|resolution='keep' leaves images"):
                apply_test_options(cfg, resolution, tta)
            continue
        apply_test_options(cfg, resolution, tta)
        assert cfg.model.type == 'mmdet_centernet.CenterNetTTAModel'
        assert cfg.model.module == detector
        steps = cfg.test_dataloader.dataset.pipeline[-1].transforms[0]
        if tta == 'ms':
            assert [step.scale for step in steps] == list(SCALES) == [0.5, 0.75, 1, 1.25, 1.5]
        if (resolution, tta) == ('keep', 'ms'):
            hourglass = 'Hourglass' in cfg.model.module.backbone.type
            assert {step.pad_mask for step in steps} == {127 if hourglass else 31}
        if (resolution, tta) == ('fix', 'ms'):
            assert {step.type for step in steps} == {'mmdet_centernet.CenterResize'}
        if (resolution, tta) == ('fix', 'config'):
            flip = Config.fromfile(path)
            apply_test_options(flip, resolution, 'flip')
            assert cfg.test_dataloader == flip.test_dataloader


def test_tta_of_every_config_is_flip_testing():
    """Its pipeline is the test pipeline: nobody has changed one and forgotten the other."""
    for path in FINAL:
        cfg, flip = Config.fromfile(path), Config.fromfile(path)
        assert 'tta_model' in cfg and 'tta_pipeline' in cfg, path
        apply_test_options(flip, tta='flip')
        apply_test_options(cfg, tta='config')
        assert cfg.test_dataloader == flip.test_dataloader, path
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            detector, _ = built(Config.fromfile(path))
            model = MODELS.build(dict(cfg.tta_model, module=detector))
        assert model.flip and model.nms == SOFT_NMS, path
