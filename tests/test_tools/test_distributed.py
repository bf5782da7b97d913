"""Several processes, and a training that is killed: real processes of the operating system."""
import json
import os
import pickle
import signal
import subprocess
import sys

import processes
import pytest
import torch
from helpers.cases import case
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, init_default_scope
from mmengine.structures import InstanceData
from tiny_project import ROOT, load_tool, write_config

from mmdet_centernet.engine.config import load_config
from mmdet_centernet.registry import MODELS


def environment(**variables):
    """This process's environment, the package's folder on the path, one thread."""
    return dict(os.environ, PYTHONPATH=str(ROOT), PYTHON=sys.executable, OMP_NUM_THREADS='1',
                **variables)


def weights_of(path):
    return torch.load(path, weights_only=True)['state_dict']


def test_two_processes_train_and_test_on_the_cpu(tool, tiny_data, tmp_path):
    """They test as one does: with test-time augmentation, and five images, so that one of them
    has one more than the other."""
    config = write_config(tmp_path, tiny_data, 'pair.py', epochs=1)
    # A port of its own, in case that another run is going.
    port = str(20000 + os.getpid() % 20000)
    result = subprocess.run(
        [ROOT / 'tools' / 'dist_train.sh', config, '2', '--device', 'cpu', '--work-dir',
         tmp_path / 'work'], capture_output=True, text=True, env=environment(PORT=port))
    assert result.returncode == 0, result.stderr
    # Three images for each of the two, two in a batch.
    assert 'epoch 1/1, iteration 2/2, 0 s left, loss' in result.stdout
    # Only the first process talks.
    assert result.stdout.count('iteration 2/2') == 1
    log, = (tmp_path / 'work').glob('*/*.log')
    assert 'GPU number: 2' in log.read_text()

    five = tmp_path / 'five.py'
    five.write_text(config.read_text() + "test_dataloader['dataset']['indices'] = 5\n")
    options = [five, tmp_path / 'work' / 'epoch_1.pth', '--device', 'cpu', '--tta', 'ms']
    result = subprocess.run(
        [ROOT / 'tools' / 'dist_test.sh', *options[:2], '2', *options[2:], '--work-dir',
         tmp_path / 'two', '--out', tmp_path / 'two.pkl'], capture_output=True, text=True,
        env=environment(PORT=port))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('coco/bbox_mAP:') == 1
    assert tool('test.py', *options, '--work-dir', tmp_path / 'one', '--out',
                tmp_path / 'one.pkl') == 0
    # As written by this very test: plain tensors in dictionaries.
    one, two = (pickle.loads((tmp_path / f'{name}.pkl').read_bytes()) for name in ('one', 'two'))
    assert [each['img_id'] for each in one] == [each['img_id'] for each in two]
    assert len(one) == 5
    for first, second in zip(one, two, strict=True):
        first, second = first['pred_instances'], second['pred_instances']
        assert first['bboxes'].shape == (20, 4)
        for key, value in first.items():
            torch.testing.assert_close(second[key], value, rtol=1e-4, atol=1e-3)
    logs = [json.loads(next((tmp_path / name).glob('*/*.json')).read_text())
            for name in ('one', 'two')]
    assert 'coco/bbox_mAP' in logs[0]
    assert {k: v for k, v in logs[0].items() if 'mAP' in k} == {
        k: v for k, v in logs[1].items() if 'mAP' in k}


def test_scripts_say_how_they_are_called():
    for script, arguments in [
        ('dist_train.sh', ['config.py']), ('dist_train.sh', ['config.py', '0']),
        ('dist_test.sh', ['config.py', 'checkpoint.pth', 'two']), ('slurm_train.sh', ['a', 'b']),
        ('slurm_test.sh', ['a', 'b', 'c']),
    ]:
        with case(script, arguments):
            result = subprocess.run([ROOT / 'tools' / script, *arguments], capture_output=True,
                                    text=True)
            assert result.returncode == 2
            assert result.stderr.startswith('usage: ')


@pytest.mark.parametrize('script, tool, arguments', [
    ('slurm_train.sh', 'train.py', ['config.py', 'work', '--amp']),
    ('slurm_test.sh', 'test.py', ['config.py', 'last.pth', '--out', 'a b.pkl'])])
def test_slurm_scripts_hand_everything_over(tmp_path, script, tool, arguments):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nfor argument in "$@"; do echo "$argument"; done\n')
    srun.chmod(0o755)
    result = subprocess.run(
        [ROOT / 'tools' / script, 'gpu', 'job', *arguments], capture_output=True, text=True,
        env=environment(PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='16',
                        SRUN_ARGS='--quotatype=spot --time=1:00'))
    given = result.stdout.splitlines()
    assert {'--partition=gpu', '--job-name=job', '--ntasks=16', '--ntasks-per-node=8',
            '--quotatype=spot', '--time=1:00', str(ROOT / 'tools' / tool)} <= set(given)
    assert {a for a in arguments if a != 'work'} <= set(given)
    assert given[given.index('--launcher') + 1] == 'slurm'


class KillerHook(Hook):
    """Kills the training in the middle of an epoch, as a power cut would."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == 1 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def _train_till_killed(config, work_dir):
    HOOKS.register_module(module=KillerHook)
    load_tool('train.py').main([str(config), '--work-dir', str(work_dir)])


@pytest.mark.parametrize('num_workers', [0, 2])
def test_killed_and_resumed_equals_undisturbed(tool, tiny_data, tmp_path, monkeypatch,
                                               num_workers):
    """The weights after the last epoch are the same to the bit.

    Both runs go on from the checkpoint of the first epoch: the killed one through
    ``--resume`` in its folder, the undisturbed one with that checkpoint in another folder.
    """
    plain = write_config(tmp_path, tiny_data, f'undisturbed{num_workers}.py', epochs=2,
                         num_workers=num_workers)
    deadly = write_config(
        tmp_path, tiny_data, f'killed{num_workers}.py', epochs=2, num_workers=num_workers,
        extra="custom_hooks = [dict(type='mmengine.KillerHook')]\n")
    killed = processes.start(_train_till_killed, deadly, tmp_path / 'killed')
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert [p.name for p in (tmp_path / 'killed').glob('*.pth')] == ['epoch_1.pth']

    start = tmp_path / 'killed' / 'epoch_1.pth'
    assert tool('train.py', plain, '--work-dir', tmp_path / 'undisturbed', '--resume',
                start) == 0
    again = write_config(tmp_path, tiny_data, f'again{num_workers}.py', epochs=2,
                         num_workers=num_workers)
    assert tool('train.py', again, '--work-dir', tmp_path / 'killed', '--resume') == 0

    first = weights_of(start)
    expected = weights_of(tmp_path / 'undisturbed' / 'epoch_2.pth')
    resumed = weights_of(tmp_path / 'killed' / 'epoch_2.pth')
    assert expected.keys() == resumed.keys()
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name
    assert not torch.equal(first['backbone.conv1.weight'], resumed['backbone.conv1.weight'])


def _write_gradients(config, target):
    """Losses and gradients of one training step on this process's share of a batch."""
    rank, world_size = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    if world_size > 1:
        torch.distributed.init_process_group('gloo')
    init_default_scope('mmdet')
    torch.manual_seed(0)
    # In evaluation mode: statistics of batch norm are each process's own, in any detector.
    model = MODELS.build(load_config(config).model).double().eval()
    images = torch.rand(4, 3, 64, 96, dtype=torch.float64)
    samples = []
    for index in range(4):
        sample = DetDataSample(metainfo=dict(img_shape=(64, 96), batch_input_shape=(64, 96)))
        corner = torch.rand(5 * index, 2, dtype=torch.float64) * 40  # the first has no object
        size = 8 + torch.rand(5 * index, 2, dtype=torch.float64) * 12
        sample.gt_instances = InstanceData(
            bboxes=torch.cat((corner, corner + size), dim=1), labels=torch.arange(5 * index) % 2)
        samples.append(sample)
    share = slice(rank * 4 // world_size, (rank + 1) * 4 // world_size)
    wrapped = model if world_size == 1 else torch.nn.parallel.DistributedDataParallel(model)
    losses = wrapped(images[share], samples[share], mode='loss')
    sum(losses.values()).backward()
    losses = {k: v.detach().clone() for k, v in losses.items()}
    if world_size > 1:
        for value in losses.values():
            torch.distributed.all_reduce(value)
            value /= world_size
    if rank == 0:
        torch.save(dict(losses, **{n: p.grad for n, p in model.named_parameters()}), target)
    if world_size > 1:  # the first process holds what the other still asks for
        torch.distributed.barrier()


def test_two_half_batches_are_one_whole(tiny_data, tmp_path):
    """Losses and gradients to 1e-6 relative.

    All is float64 but the heat-map loss, which is always computed in float32.
    """
    config = write_config(tmp_path, tiny_data, 'halves.py', use_dcn=True)
    _write_gradients(config, tmp_path / '1.pth')
    processes.run_two(_write_gradients, config, tmp_path / '2.pth')
    one, two = (torch.load(tmp_path / f'{n}.pth', weights_only=True) for n in (1, 2))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-9, msg=name)
    assert one['backbone.conv1.weight'].abs().max() > 1e-6
