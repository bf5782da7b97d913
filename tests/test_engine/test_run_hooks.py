"""Hooks that the tools add to a config."""
from mmengine.config import Config

from mmdet_centernet.engine.config import RUN_HOOKS, add_run_hooks
from mmdet_centernet.registry import HOOKS


def types_of(config):
    return [hook['type'] for hook in config.custom_hooks]


def test_a_config_without_hooks_gets_all():
    config = Config(dict(model=dict()))
    add_run_hooks(config)
    assert types_of(config) == [f'mmdet_centernet.{name}' for name in RUN_HOOKS]
    for name in RUN_HOOKS:
        assert HOOKS.build(dict(type=f'mmdet_centernet.{name}'))


def test_hooks_of_the_config_are_kept():
    own = dict(type='mmdet_centernet.CheckLossHook', interval=3)
    other = dict(type='mmengine.EMAHook')
    config = Config(dict(custom_hooks=[other, own]))
    add_run_hooks(config)
    assert config.custom_hooks[:2] == [other, own]
    assert sorted(types_of(config)) == sorted(
        ['mmengine.EMAHook', *(f'mmdet_centernet.{name}' for name in RUN_HOOKS)])


def test_adding_them_again_changes_nothing():
    config = Config(dict(custom_hooks=None))
    add_run_hooks(config)
    before = config.to_dict()
    add_run_hooks(config)
    assert config.to_dict() == before
