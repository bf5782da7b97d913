"""The training pipeline changes at the said epoch or iteration, in workers, too."""
import pytest
import torch
from mmdet.datasets import MultiImageMixDataset
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset, pseudo_collate
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmdet_centernet.engine.hooks import PipelineSwitchHook
from mmdet_centernet.errors import UserError


class Mark:
    """Transform that marks a sample."""

    def __init__(self, name):
        self.name = name

    def __call__(self, results):
        return dict(name=self.name, index=results['sample_idx'])


class Numbers(BaseDataset):
    """Eight samples without files."""

    def load_data_list(self):
        return [dict(number=index) for index in range(8)]


class Recorder(BaseModel):
    """Model that records what it is trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, name, index, mode):
        self.seen.append((name, [int(each) for each in index]))
        return dict(loss=self.weight ** 2)


def run(tmp_path, hook, train_cfg, workers, wrap=lambda dataset: dataset, resume=None,
        sampler='DefaultSampler', log_level='ERROR'):
    """Train on marks; return those that the model saw."""
    runner = Runner(
        Recorder(), str(tmp_path), experiment_name=f'{tmp_path.name}{resume}',
        train_dataloader=dict(
            batch_size=4, num_workers=workers, persistent_workers=workers > 0,
            sampler=dict(type=sampler, shuffle=True),
            collate_fn=pseudo_collate, dataset=wrap(Numbers(pipeline=[Mark('first')]))),
        train_cfg=train_cfg, custom_hooks=[hook], load_from=resume, resume=resume is not None,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), log_level=log_level,
        default_hooks=dict(checkpoint=dict(
            type='CheckpointHook', interval=1 if train_cfg.get('by_epoch') else 3,
            by_epoch=bool(train_cfg.get('by_epoch')))),
        randomness=dict(seed=0))
    runner.train()
    if workers:
        # Garbage collection would wait five seconds for them.
        runner.train_dataloader._iterator._shutdown_workers()
    seen = runner.model.seen
    assert all(len(set(names)) == 1 for names, _ in seen)
    return [names[0] for names, _ in seen], [index for _, index in seen]


EPOCHS = dict(by_epoch=True, max_epochs=4)
ITERATIONS = dict(by_epoch=False, max_iters=8)


@pytest.mark.parametrize('workers, wrap', [
    (0, lambda dataset: ConcatDataset([dataset, Numbers(pipeline=[Mark('first')])])),
    (1, lambda dataset: RepeatDataset(dataset, 2))])
def test_at_the_epoch_inside_wrappers(tmp_path, workers, wrap):
    hook = PipelineSwitchHook([Mark('last')], switch_epoch=3)
    names, indices = run(tmp_path, hook, EPOCHS, workers, wrap)
    assert names == 12 * ['first'] + 4 * ['last']
    assert all(sorted(sum(indices[start:start + 4], [])) == sorted(2 * list(range(8)))
               for start in range(0, 16, 4))


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
def test_at_the_iteration(tmp_path, workers, sampler, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # of MMEngine, after each pass
    hook = PipelineSwitchHook([Mark('last')], switch_iter=5)
    names, _ = run(tmp_path, hook, dict(by_epoch=False, max_iters=7), workers, sampler=sampler)
    assert names == 5 * ['first'] + 2 * ['last']


def test_resumed_before_and_after_the_switch(tmp_path):
    run(tmp_path, PipelineSwitchHook([Mark('last')], switch_epoch=2), EPOCHS, 0)
    for epoch, expected in ((1, 2 * ['first'] + 4 * ['last']), (3, 2 * ['last'])):
        hook = PipelineSwitchHook([Mark('last')], switch_epoch=2)
        names, _ = run(tmp_path, hook, EPOCHS, 0, resume=str(tmp_path / f'epoch_{epoch}.pth'))
        assert names == expected


def test_resumed_after_the_iteration_of_the_switch(tmp_path):
    hook = PipelineSwitchHook([Mark('last')], switch_iter=2)
    run(tmp_path, hook, ITERATIONS, 0, sampler='InfiniteSampler')
    hook = PipelineSwitchHook([Mark('last')], switch_iter=2)
    names, _ = run(tmp_path, hook, ITERATIONS, 0, sampler='InfiniteSampler',
                   resume=str(tmp_path / 'iter_6.pth'))
    assert names == 2 * ['last']


@pytest.mark.parametrize('options, train_cfg, sampler', [
    (dict(switch_epoch=4), EPOCHS, 'DefaultSampler'),
    (dict(switch_iter=8), ITERATIONS, 'InfiniteSampler')])
def test_switch_that_never_comes_is_logged(tmp_path, options, train_cfg, sampler, capsys):
    hook = PipelineSwitchHook([Mark('last')], **options)
    names, _ = run(tmp_path, hook, train_cfg, 0, log_level='WARNING', sampler=sampler)
    assert names == 8 * ['first']
    assert 'which is never' in capsys.readouterr().out


@pytest.mark.parametrize('options, words', [
    (dict(), 'either switch_epoch or switch_iter'),
    (dict(switch_epoch=1, switch_iter=1), 'either switch_epoch or switch_iter'),
    (dict(switch_epoch=-1), 'not below 0')])
def test_options_that_do_not_fit(options, words):
    with pytest.raises(UserError, match=words):
        PipelineSwitchHook([], **options)


@pytest.mark.parametrize('options, train_cfg, words', [
    (dict(switch_iter=1), EPOCHS, 'has switch_iter, but train_cfg is a EpochBasedTrainLoop'),
    (dict(switch_epoch=1), ITERATIONS, 'has switch_epoch, but train_cfg is a IterBasedTrain')])
def test_loop_that_counts_the_other(tmp_path, options, train_cfg, words):
    with pytest.raises(UserError, match=words):
        run(tmp_path, PipelineSwitchHook([], **options), train_cfg, 0)


def test_wrapper_with_a_pipeline_of_its_own(tmp_path):
    with pytest.raises(UserError, match='cannot switch the pipeline of a MultiImageMixDataset'):
        run(tmp_path, PipelineSwitchHook([], switch_epoch=1), EPOCHS, 0,
            lambda dataset: MultiImageMixDataset(dataset, []))
