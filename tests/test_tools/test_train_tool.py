"""tools/train.py, called as its command line calls it."""
import logging

import pytest
import torch
from mmengine.device import get_device
from mmengine.device import utils as device_utils
from mmengine.runner import Runner
from tiny_project import write_config, write_data

from mmdet_centernet import cli
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.engine.runner import ConsoleFilter, use_cpu
from mmdet_centernet.engine.work_dir import latest_checkpoint, set_aside


def last_error(capsys):
    """The sentence that a tool printed, which must be its only line on stderr."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    return lines[0]


def test_training_writes_checkpoints_and_says_how_far_it_is(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'says.py')
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 0
    text = capsys.readouterr().out
    assert 'epoch 2/2, iteration 6/6, 0 s left, loss' in text
    assert 'Epoch(train)' not in text  # only in the log file
    assert (tmp_path / 'work' / 'epoch_2.pth').exists()
    log, = (tmp_path / 'work').glob('*/*.log')
    assert 'Epoch(train)' in log.read_text()


def test_default_work_dir_is_named_after_the_config(tiny_data, tmp_path):
    config = load_config(str(write_config(tmp_path, tiny_data, 'named.py')))
    assert config.work_dir == 'work_dirs/named'


def test_mixed_precision_on_the_cpu(tool, tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data, 'amp.py', epochs=1, use_dcn=True)
    assert tool('train.py', config, '--work-dir', tmp_path / 'work', '--amp',
                '--device', 'cpu') == 0
    weights = torch.load(tmp_path / 'work' / 'epoch_1.pth', weights_only=True)['state_dict']
    assert {v.dtype for v in weights.values() if v.is_floating_point()} == {torch.float32}
    assert all(v.isfinite().all() for v in weights.values())


def test_mixed_precision_computes_in_bfloat16(tiny_data):
    from mmdet_centernet.engine.optim_wrapper import CPUAmpOptimWrapper
    layer = torch.nn.Linear(2, 2)
    wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(layer.parameters(), lr=0.1))
    with wrapper.optim_context(layer):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16


def test_learning_rate_follows_the_batch_size(tool, tiny_data, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(Runner, 'load_or_resume', lambda self: seen.update(
        lr=self.optim_wrapper.get_lr()['lr'][0]))
    config = write_config(tmp_path, tiny_data, 'scale.py', epochs=1)
    assert tool('train.py', config, '--work-dir', tmp_path / 'work', '--auto-scale-lr') == 0
    assert seen['lr'] == pytest.approx(1e-3 * 2 / 4)


def test_scaling_needs_a_base(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'base.py', extra='auto_scale_lr = None\n')
    assert tool('train.py', config, '--auto-scale-lr') == 1
    assert 'base_batch_size' in last_error(capsys)


def test_missing_config_names_similar_ones(tool, tiny_data, tmp_path, capsys):
    write_config(tmp_path, tiny_data, 'centernet_of_mine.py')
    assert tool('train.py', tmp_path / 'centrenet_of_mine.py') == 1
    error = last_error(capsys)
    assert 'does not exist' in error and 'centernet_of_mine.py' in error


@pytest.mark.parametrize('content, expected', [
    ('model = dict(\n', 'cannot be read'),
    ('x = 1\nmodel = unknown_name\n', 'unknown_name'),
    ("_base_ = ['./nowhere.py']\n", 'nowhere.py'),
    ('x = 1\n', 'has no model'),
])
def test_broken_config(tool, tmp_path, capsys, content, expected):
    path = tmp_path / 'broken.py'
    path.write_text(content)
    assert tool('train.py', path) == 1
    error = last_error(capsys)
    assert 'broken.py' in error and expected in error


def test_unknown_type_in_config(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'unknown.py')
    config.write_text(config.read_text().replace('ColorJitterPCA', 'ColourJitterPCA'))
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 1
    assert 'mmdet_centernet.ColourJitterPCA' in last_error(capsys)


def test_unknown_setting_in_config(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'setting.py')
    assert tool('train.py', config, '--work-dir', tmp_path / 'work', '--cfg-options',
                'model.neck.use_dnc=True') == 1
    assert 'use_dnc' in last_error(capsys)


def test_malformed_option(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'option.py')
    with pytest.raises(SystemExit) as stop:
        tool('train.py', config, '--cfg-options', 'train_cfg.max_epochs')
    assert stop.value.code == 2
    assert 'KEY=VALUE' in capsys.readouterr().err


def test_option_that_does_not_fit(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'misfit.py')
    assert tool('train.py', config, '--cfg-options', 'num_classes.x=1') == 1
    assert '--cfg-options' in last_error(capsys)


def test_number_of_classes_names_both(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'classes.py', num_classes=5)
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 1
    error = last_error(capsys)
    assert '2 classes (square, disc)' in error and 'predicts 5' in error
    assert 'model.bbox_head.num_classes=2' in error


@pytest.mark.parametrize('num_workers', [0, 1])
def test_missing_image_is_named(tool, tmp_path, capsys, num_workers):
    data = write_data(tmp_path, num_images=2)
    (data / 'img_1.png').unlink()
    config = write_config(tmp_path, data, f'gone{num_workers}.py', num_workers=num_workers)
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 1
    error = last_error(capsys)
    assert 'img_1.png' in error and 'Traceback' not in error


def test_truncated_image_is_named(tool, tmp_path, capsys):
    data = write_data(tmp_path, num_images=2)
    whole = (data / 'img_0.png').read_bytes()
    (data / 'img_0.png').write_bytes(whole[:len(whole) // 2])
    config = write_config(tmp_path, data, 'cut.py', num_workers=1)
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 1
    assert 'img_0.png' in last_error(capsys)


def test_missing_annotation_file_is_named(tool, tmp_path, capsys):
    data = write_data(tmp_path, num_images=1)
    config = write_config(tmp_path, data, 'unannotated.py')
    (data / 'train.json').unlink()
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 1
    assert 'train.json' in last_error(capsys)


def test_earlier_checkpoints_are_kept(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'kept.py', epochs=1)
    work = tmp_path / 'work'
    work.mkdir()
    (work / 'epoch_1.pth').write_bytes(b'precious')
    (work / 'last_checkpoint').write_text('epoch_1.pth')
    assert tool('train.py', config, '--work-dir', work) == 0
    kept, = work.glob('earlier_*')
    assert (kept / 'epoch_1.pth').read_bytes() == b'precious'
    assert str(kept) in capsys.readouterr().out
    assert torch.load(work / 'epoch_1.pth', weights_only=True)['meta']['epoch'] == 1


def test_set_aside_twice_gives_two_folders(tmp_path):
    import os
    folders = []
    for _ in range(2):
        (tmp_path / 'a.pth').write_bytes(b'x')
        os.utime(tmp_path / 'a.pth', (1e9, 1e9))
        folders.append(set_aside(tmp_path))
    assert folders[0] != folders[1] and set_aside(tmp_path) is None


def test_load_from_inside_the_work_dir_is_refused(tool, trained, capsys):
    config, work = trained
    before = (work / 'epoch_2.pth').read_bytes()
    assert tool('train.py', config, '--work-dir', work, '--cfg-options',
                f'load_from={work / "epoch_2.pth"}') == 1
    assert '--work-dir' in last_error(capsys)
    assert (work / 'epoch_2.pth').read_bytes() == before


def test_start_from_other_number_of_classes_says_what_was_left_out(
        tool, trained, tmp_path, tiny_data):
    _, work = trained
    data = write_data(tmp_path, 2, classes=('square', 'disc', 'star'))
    config = write_config(tmp_path, data, 'more.py', classes=('square', 'disc', 'star'),
                          epochs=1)
    assert tool('train.py', config, '--work-dir', tmp_path / 'work', '--cfg-options',
                f'load_from={work / "epoch_2.pth"}') == 0
    log, = (tmp_path / 'work').glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'initial values' in line]
    assert len(lines) == 1
    assert '2 of another shape (bbox_head.stacks.0.heatmap.2.weight' in lines[0]


@pytest.mark.parametrize('names, expected', [
    (['fc.weight'], 'fc.weight'),
    # The original's, before conversion.
    (['base.level5.x', 'dla_up.x', 'ida_up.x', 'hm.2.weight'],
     'which has to be converted first: python tools/model_converters/convert_checkpoint.py'),
])
def test_start_from_another_model_is_refused(tool, tiny_data, tmp_path, capsys, names, expected):
    torch.save({'state_dict': {name: torch.zeros(2) for name in names}},
               tmp_path / 'stranger.pth')
    config = write_config(tmp_path, tiny_data, 'strange.py')
    assert tool('train.py', config, '--work-dir', tmp_path / 'work', '--cfg-options',
                f'load_from={tmp_path / "stranger.pth"}') == 1
    error = last_error(capsys)
    assert 'stranger.pth does not fit the model' in error and expected in error


def test_missing_start_says_what_to_do(tool, tiny_data, tmp_path, capsys):
    config = write_config(
        tmp_path, tiny_data, 'gone.py', extra="\nload_from = 'data/pretrained/gone.pth'\n")
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 1
    error = last_error(capsys)
    assert 'load_from=data/pretrained/gone.pth' in error and 'docs/weights.md' in error
    assert not (tmp_path / 'work').exists()


def test_resume_without_anything_starts(tool, tiny_data, tmp_path, capsys):
    config = write_config(
        tmp_path, tiny_data, 'fresh.py', epochs=1, extra="\nload_from = 'gone.pth'\n")
    assert tool('train.py', config, '--work-dir', tmp_path / 'work', '--resume',
                '--cfg-options', 'load_from=None') == 0
    assert 'nothing to resume' in capsys.readouterr().out


def test_resume_needs_a_training_state(tool, tiny_data, tmp_path, capsys):
    torch.save({'state_dict': {'x': torch.zeros(1)}}, tmp_path / 'weights.pth')
    config = write_config(tmp_path, tiny_data, 'state.py')
    assert tool('train.py', config, '--work-dir', tmp_path / 'work', '--resume',
                tmp_path / 'weights.pth') == 1
    assert 'load_from=' in last_error(capsys)


def test_resume_after_the_work_dir_moved(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('/no/longer/there/epoch_3.pth')
    (tmp_path / 'epoch_3.pth').write_bytes(b'x')
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_3.pth')
    (tmp_path / 'epoch_3.pth').unlink()
    with pytest.raises(ValueError, match='epoch_3.pth, which no longer exists'):
        latest_checkpoint(tmp_path)


def test_interrupt_says_how_to_go_on(tool, trained, tmp_path, monkeypatch, capsys):
    config, work = trained

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, 'train', interrupted)
    monkeypatch.setattr('sys.argv', ['tools/train.py', str(config), '--work-dir', str(work),
                                     '--resume'])
    assert tool('train.py', config, '--work-dir', work, '--resume') == 130
    line = capsys.readouterr().err.strip()
    assert line == (f'stopped; go on with: python tools/train.py {config} --work-dir {work} '
                    '--resume')


def test_debug_keeps_the_traceback(tool, tmp_path, capsys):
    assert tool('train.py', tmp_path / 'none.py', '--debug') == 1
    assert 'Traceback' in capsys.readouterr().err


def test_internal_errors_are_raised():
    def main(argv):
        raise RuntimeError('a fault')

    with pytest.raises(RuntimeError, match='a fault'):
        cli.run(main, [])


def test_launcher_without_processes(tool, tiny_data, tmp_path, capsys, monkeypatch):
    for variable in ('RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(variable, raising=False)
    config = write_config(tmp_path, tiny_data, 'alone.py')
    assert tool('train.py', config, '--launcher', 'pytorch') == 1
    assert 'tools/dist_train.sh' in last_error(capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks for a GPU where there is none')
def test_gpu_that_is_not_there(tool, tiny_data, tmp_path, capsys):
    config = write_config(tmp_path, tiny_data, 'gpu.py')
    assert tool('train.py', config, '--device', 'cuda') == 1
    assert '--device cpu' in last_error(capsys)


def test_device_cpu_overrules_a_gpu(monkeypatch):
    monkeypatch.setattr(device_utils, 'DEVICE', 'cuda')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')
    use_cpu()
    assert get_device() == 'cpu'


def test_console_leaves_the_environment_to_the_file():
    def record(module, function):
        record = logging.LogRecord('mmengine', logging.INFO, f'/{module}.py', 1, 'text', (),
                                   None, function)
        return record

    keep = ConsoleFilter()
    assert not keep.filter(record('runner', '_log_env'))
    assert keep.filter(record('checkpoint_hook', 'after_train_epoch'))
