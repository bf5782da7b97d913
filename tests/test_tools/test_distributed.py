"""Several processes, and a training that is killed: real processes of the operating system."""
import json
import os
import pickle
import signal
import subprocess
import sys

import pytest
import torch
from tiny_project import ROOT, write_config

KILLER = '''
"""Kills the training in the middle of an epoch, as a power cut would."""
import os
import signal

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillerHook(Hook):

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == 1 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)
'''


def environment(**variables):
    """This process's environment, the package's folder on the path, one thread."""
    return dict(os.environ, PYTHONPATH=str(ROOT), PYTHON=sys.executable, OMP_NUM_THREADS='1',
                **variables)


def weights_of(path):
    return torch.load(path, weights_only=True)['state_dict']


def test_two_processes_train_and_test_on_the_cpu(tiny_data, tmp_path):
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

    result = subprocess.run(
        [ROOT / 'tools' / 'dist_test.sh', config, tmp_path / 'work' / 'epoch_1.pth', '2',
         '--device', 'cpu', '--work-dir', tmp_path / 'test', '--out', tmp_path / 'out.pkl'],
        capture_output=True, text=True, env=environment(PORT=port))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('coco/bbox_mAP:') == 1
    assert (tmp_path / 'out.pkl').exists()


def test_two_processes_test_as_one_does(tool, trained, tmp_path):
    """With test-time augmentation, and five images: one process has one more than the other."""
    config, work = trained
    five = tmp_path / 'five.py'
    five.write_text(config.read_text() + "test_dataloader['dataset']['indices'] = 5\n")
    options = [five, work / 'epoch_2.pth', '--device', 'cpu', '--tta', 'ms']
    assert tool('test.py', *options, '--work-dir', tmp_path / 'one', '--out',
                tmp_path / 'one.pkl') == 0
    result = subprocess.run(
        [ROOT / 'tools' / 'dist_test.sh', *options[:2], '2', *options[2:], '--work-dir',
         tmp_path / 'two', '--out', tmp_path / 'two.pkl'], capture_output=True, text=True,
        env=environment(PORT=str(20000 + os.getpid() % 20000)))
    assert result.returncode == 0, result.stderr
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


@pytest.mark.parametrize('script, arguments', [
    ('dist_train.sh', ['config.py']), ('dist_train.sh', ['config.py', '0']),
    ('dist_test.sh', ['config.py', 'checkpoint.pth', 'two']), ('slurm_train.sh', ['a', 'b']),
    ('slurm_test.sh', ['a', 'b', 'c'])])
def test_scripts_say_how_they_are_called(script, arguments):
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


@pytest.mark.parametrize('num_workers', [0, 2])
def test_killed_and_resumed_equals_undisturbed(tool, tiny_data, tmp_path, monkeypatch,
                                               num_workers):
    """The weights after the last epoch are the same to the bit.

    Both runs go on from the checkpoint of the first epoch: the killed one through
    ``--resume`` in its folder, the undisturbed one with that checkpoint in another folder.
    """
    (tmp_path / 'killer.py').write_text(KILLER)
    plain = write_config(tmp_path, tiny_data, f'undisturbed{num_workers}.py', epochs=2,
                         num_workers=num_workers)
    deadly = write_config(
        tmp_path, tiny_data, f'killed{num_workers}.py', epochs=2, num_workers=num_workers,
        extra="custom_imports['imports'].append('killer')\n"
        "custom_hooks = [dict(type='mmengine.KillerHook')]\n")
    killed = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'train.py', deadly, '--work-dir', tmp_path / 'killed'],
        capture_output=True, text=True,
        env=dict(environment(), PYTHONPATH=f'{ROOT}:{tmp_path}'))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
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


GRADIENTS = '''
"""Losses and gradients of one training step on this process's share of a batch."""
import os
import sys

import torch

import mmdet_centernet  # noqa: F401
from mmdet_centernet.apis.cli import load_config
from mmdet_centernet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

config, target = sys.argv[1:]
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
'''


def test_two_half_batches_are_one_whole(tiny_data, tmp_path):
    """Losses and gradients to 1e-6 relative.

    All is float64 but the heat-map loss, which is always computed in float32.
    """
    config = write_config(tmp_path, tiny_data, 'halves.py', use_dcn=True)
    script = tmp_path / 'gradients.py'
    script.write_text(GRADIENTS)
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    for processes, launched in ((1, []), (2, launcher)):
        result = subprocess.run(
            [sys.executable, *launched, script, config, tmp_path / f'{processes}.pth'],
            capture_output=True, text=True, env=environment())
        assert result.returncode == 0, result.stderr
    one, two = (torch.load(tmp_path / f'{n}.pth', weights_only=True) for n in (1, 2))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-9, msg=name)
    assert one['backbone.conv1.weight'].abs().max() > 1e-6
