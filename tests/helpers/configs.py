"""The configs of this repository, and those that pages of the docs show."""
import re
from functools import cache
from pathlib import Path

import mmdet.registry
import mmengine.registry
from mmdet.utils import register_all_modules
from mmengine.registry import Registry

import mmdet_centernet.registry as ours

CONFIGS = Path(__file__).parents[2] / 'configs'
ALL = sorted(CONFIGS.rglob('*.py'))
FINAL = [path for path in ALL if '_base_' not in path.parts]
# Where a cell is 8 input pixels wide; elsewhere it is 4.
STRIDE_8 = [CONFIGS / f'plus/centernet_plus_lite0_{name}.py'
            for name in ('own_data', 'tree_crowns')]


def config_id(path):
    """Return a name such as ``official/ctdet_coco_hg``."""
    return str(path.relative_to(CONFIGS).with_suffix(''))


def passes_of(cfg):
    """Return how often a training goes through the images: epochs times repetitions."""
    dataset, times = cfg.train_dataloader.dataset, 1
    while 'dataset' in dataset:
        times *= dataset.times
        dataset = dataset.dataset
    return cfg.train_cfg.max_epochs * times


def _registries(module, scope):
    """Return the registries of a scope in a module."""
    return [
        value for value in vars(module).values()
        if isinstance(value, Registry) and value.scope == scope]


@cache
def known_types():
    """Return the names that ours, mmdet's, and all registries know, as three sets."""
    register_all_modules(init_default_scope=False)
    own = _registries(ours, ours.SCOPE)
    mmdets = _registries(mmdet.registry, 'mmdet')
    everyones = mmdets + _registries(mmengine.registry, 'mmengine')
    for registry in own:
        registry.import_from_location()
    return tuple(
        {name for registry in group for name in registry.module_dict}
        for group in (own, mmdets, everyones))


def types_in(node, path=''):
    """Yield every ``type='...'`` below a node of a config, with its path.

    Types of NMS and of gradient clipping are left out, because they are not classes.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'type' and isinstance(value, str):
                yield path, value
            elif key not in ('nms', 'clip_grad'):
                yield from types_in(value, f'{path}.{key}' if path else key)
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from types_in(value, f'{path}[{index}]')


def wrong_types(cfg):
    """Yield what is wrong with the types of a config, one line each."""
    own, mmdets, everyones = known_types()
    scopes = dict(mmdet_centernet=own, mmdet=mmdets, mmengine=everyones, mmcv=everyones)
    for path, name in types_in(cfg):
        scope, _, bare = name.rpartition('.')
        if scope:
            if bare not in scopes.get(scope, ()):
                yield f'{path}: there is no {name}'
        elif bare in own:
            yield f"{path}: '{bare}' is also mmdet_centernet's: write the scope that is meant"
        elif bare not in everyones:
            yield f'{path}: there is no {name}'


PAGES = {name: (CONFIGS.parent / f'docs/{name}.md').read_text() for name in ('recipes', 'pose')}
BLOCKS = [block for page in PAGES.values()
          for block in re.findall(r'```python\n(.*?)```', page, re.S)]


def write_block(block, folder):
    """Write the file of a block's config, which finds what it inherits from, and return it."""
    path = folder / 'recipe.py'
    path.write_text(block.replace("_base_ = './", f"_base_ = '{CONFIGS}/"))
    return path


def block_with(word):
    """Return the only block of the pages in which a word stands."""
    block, = (block for block in BLOCKS if word in block)
    return block
