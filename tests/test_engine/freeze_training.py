"""A training of four linear epochs on the CPU, in one process or several, with FreezeHook."""
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

import mmdet_centernet  # noqa: F401

EPOCHS, FROZEN_EPOCHS, IMAGES = 4, 2, 8


class Toy(BaseModel):
    """Two layers; the first may have batch norm."""

    def __init__(self, batch_norm=True):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4) if batch_norm else nn.Identity(), nn.Linear(4, 4))
        self.bbox_head = nn.Linear(4, 1)

    def forward(self, inputs, target, mode):
        return dict(loss=(self.bbox_head(self.backbone(inputs))[:, 0] - target).square().mean())


class Weights(Hook):
    """Keeps the model's state of each epoch's end, and what learns at each iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.states, self.learning = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = getattr(runner.model, 'module', runner.model)
        self.learning.append({n for n, p in model.named_parameters() if p.requires_grad})

    def after_train_epoch(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        self.states.append({k: v.clone() for k, v in model.state_dict().items()})


def data():
    generator = torch.Generator().manual_seed(1)
    return [dict(inputs=x, target=(x.sum() > 0).float()) for x in torch.randn(
        IMAGES, 3, generator=generator)]


def build(folder, model, batch_size, hook=None, hooks=(), train_cfg=None, **settings):
    """A Runner around the model, and the record of its training."""
    record = Weights()
    runner = Runner(
        model, str(folder), experiment_name=f'freeze_{folder}',
        train_dataloader=dict(
            dataset=data(), batch_size=batch_size, num_workers=0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=EPOCHS),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.05, weight_decay=0.1)),
        default_hooks=dict(logger=None, timer=None),
        custom_hooks=[dict(dict(
            type='mmdet_centernet.FreezeHook', epochs=FROZEN_EPOCHS), **(hook or {})),
            *hooks, record],
        log_level='ERROR', **settings)
    return runner, record


def train_as_one_of_several(folder):
    """Process r writes its weights after each epoch to ``folder/rank{r}.pth``."""
    torch.distributed.init_process_group('gloo')
    # The same for all, as DistributedDataParallel makes it anyway.
    torch.manual_seed(0)
    runner, record = build(
        folder, Toy(batch_norm=False), batch_size=2, launcher='pytorch',
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)))
    compiled = []
    runner._maybe_compile = lambda target: compiled.append((target, id(runner.model)))
    runner.train()
    # At the start, then after each phase's begin, a wrapper of its own.
    assert {target for target, _ in compiled} == {'train_step'} and len(compiled) == 3
    assert compiled[-1][1] == id(runner.model)
    torch.save(record.states, folder / f'rank{get_rank()}.pth')
    torch.distributed.destroy_process_group()
