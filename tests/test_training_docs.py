"""What docs/training.md tells to set is there, and does what the page says."""
import re

import torch
from helpers.configs import CONFIGS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from mmdet_centernet.engine.optim_wrapper import CPUAmpOptimWrapper

PAGE = (CONFIGS.parent / 'docs/training.md').read_text()


def test_the_config_of_the_page_accumulates_to_the_same_batch(tmp_path):
    block, = (each for each in re.findall(r'```python\n(.*?)```', PAGE, re.S)
              if 'accumulative_counts' in each)
    path = tmp_path / 'accumulate.py'
    path.write_text(block.replace("_base_ = './", f"_base_ = '{CONFIGS}/"))
    config = Config.fromfile(path)
    base = Config.fromfile(CONFIGS / re.search(r"'\./(.*)'", block)[1])
    count = config.optim_wrapper.accumulative_counts
    images = count * config.train_dataloader.batch_size
    assert f'a step for every {images} images' in block
    assert config.auto_scale_lr.base_batch_size * count == base.auto_scale_lr.base_batch_size
    model = torch.nn.Linear(1, 1)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    assert wrapper._accumulative_counts == count
    # It goes together with mixed precision on a CPU.
    settings = dict(config.optim_wrapper, type='mmdet_centernet.CPUAmpOptimWrapper')
    assert isinstance(build_optim_wrapper(model, settings), CPUAmpOptimWrapper)


def test_settings_that_the_page_names_are_those_of_the_configs():
    config = Config.fromfile(CONFIGS / 'centernet_r18_dcn_140e_coco.py')
    options = re.findall(r'--cfg-options ((?:[\w.]+=\S+ ?)+)', PAGE)
    assert len(options) >= 4
    for option in ' '.join(options).split():
        name, _, value = option.rpartition('=')
        assert value
        parent = name.rpartition('.')[0]
        if parent:
            node = config
            for part in parent.split('.'):
                node = node[int(part) if isinstance(node, list) else part]
    for name in re.findall(r'`((?:train_dataloader|env_cfg|auto_scale_lr)\.[\w.]+)[`=]', PAGE):
        node = config
        for part in name.split('.'):
            node = node[part]


def test_links_lead_somewhere():
    for page in ('training', 'inference'):
        text = (CONFIGS.parent / f'docs/{page}.md').read_text()
        for target, anchor in re.findall(r'\]\(([\w./]+\.md)(?:#([\w-]+))?\)', text):
            linked = CONFIGS.parent / 'docs' / target
            assert linked.is_file(), target
            heads = re.findall(r'^#+ (.*)$', linked.read_text(), re.M)
            assert not anchor or anchor in {
                re.sub(r'[^\w-]', '', head.lower().replace(' ', '-')) for head in heads}, anchor
