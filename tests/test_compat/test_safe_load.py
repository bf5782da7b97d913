"""Training checkpoints are read back; what a checkpoint has no business with is refused."""
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cases import case
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from torch import nn


class TinyModel(BaseModel):
    """One layer, so that a whole training takes no time."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, *inputs, mode='tensor'):
        return dict(loss=self.layer(torch.stack(inputs)).square().mean())


def make_runner(work_dir, epochs, **kwargs):
    samples = list(torch.rand(8, 2, generator=torch.Generator().manual_seed(0)))
    return Runner(
        TinyModel(), str(work_dir), log_level='ERROR', default_scope='mmengine',
        experiment_name=f'tiny_{work_dir.name}_{epochs}',
        train_dataloader=dict(
            dataset=samples, batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        param_scheduler=dict(type='MultiStepLR', milestones=[1]), **kwargs)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A work directory with a training checkpoint, as mmengine's Runner writes it."""
    runner = make_runner(tmp_path_factory.mktemp('train'), 1)
    # Metrics of an evaluation end up in the message hub as numpy scalars.
    runner.message_hub.update_scalar('val/AP', np.float32(0.5))
    runner.message_hub.update_info('best', np.float64(0.25))
    runner.train()
    return runner


@pytest.fixture
def checkpoint(trained):
    return Path(trained.work_dir, 'epoch_1.pth')


def test_torch_reads_a_training_checkpoint_back(checkpoint):
    loaded = torch.load(checkpoint)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert len(history.data[0]) == 2
    assert history.statistics('mean', 2) == pytest.approx(history.data[0].mean())
    assert loaded['message_hub']['log_scalars']['val/AP'].current() == 0.5
    assert loaded['message_hub']['runtime_info']['best'] == 0.25


def test_mmengine_loads_and_resumes_it(trained, checkpoint, tmp_path):
    model = TinyModel()
    load_checkpoint(model, str(checkpoint), strict=True)
    assert torch.equal(model.layer.weight, trained.model.layer.weight)
    resumed = make_runner(tmp_path, 2, load_from=str(checkpoint), resume=True)
    resumed.train()
    assert resumed.epoch == 2
    assert len(resumed.message_hub.get_scalar('train/loss').data[0]) == 4


def text(value):
    """A string, as a pickle program writes it."""
    return b'X' + len(value).to_bytes(4, 'little') + value.encode()


def call(function, *arguments):
    """A pickle program that calls a global, ``'module name'``."""
    return b'c%s\n(%stR' % (function.replace(' ', '\n').encode(), b''.join(arguments))


def load_program(path, program):
    """Let torch load a file (its old form: a row of pickles) that holds a pickle program."""
    head = b''.join(
        pickle.dumps(value, protocol=2)
        for value in (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {}))
    path.write_bytes(head + b'\x80\x02' + program + b'.' + pickle.dumps([], protocol=2))
    return torch.load(path)


HISTORY_BUFFER = b'cmmengine.logging.history_buffer\nHistoryBuffer\n'
TENSOR = b'ctorch\nTensor\n'


def test_getattr_gives_the_statistics(tmp_path):
    for name in ['min', 'max', 'mean', 'current']:
        with case(name):
            program = call('builtins getattr', HISTORY_BUFFER, text(name))
            assert load_program(tmp_path / 'a.pth', program) is getattr(HistoryBuffer, name)


def test_getattr_is_refused_for_other_attributes(tmp_path):
    for program in [
        call('builtins getattr', HISTORY_BUFFER, text('__init__')),
        call('builtins getattr', HISTORY_BUFFER, text('__class__')),
        call('builtins getattr', HISTORY_BUFFER, text('register_statistics')),
        call('builtins getattr', HISTORY_BUFFER, text('update')),
        call('builtins getattr', HISTORY_BUFFER, text('nothing'), text('default')),
        call('builtins getattr', TENSOR, text('mean')),
        call('builtins getattr', text('a string'), text('format')),
        call('builtins getattr', b'cbuiltins\ngetattr\n', text('__globals__')),
    ]:
        with case(program), pytest.raises(pickle.UnpicklingError):
            load_program(tmp_path / 'a.pth', program)


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    for function in [
        'os system', 'posix system', 'subprocess getoutput', 'builtins eval', 'builtins exec',
        '__builtin__ eval', 'builtins __import__', 'builtins open', 'builtins setattr',
        'numpy load', 'numpy.testing._private.utils runstring',
    ]:
        with case(function):
            trace = tmp_path / 'trace'
            harm = f'touch {trace}' if function.split()[1] in ('system', 'getoutput') else (
                f'open({str(trace)!r}, "w")')
            with pytest.raises(pickle.UnpicklingError):
                load_program(tmp_path / 'a.pth', call(function, text(harm)))
            assert not trace.exists()


def test_a_statistics_method_cannot_be_called_by_a_checkpoint(tmp_path):
    method = call('builtins getattr', HISTORY_BUFFER, text('current'))
    with pytest.raises(pickle.UnpicklingError):
        load_program(tmp_path / 'a.pth', method + b'(' + text('an argument') + b'tR')


def test_arrays_of_objects_do_not_run_code(tmp_path):
    """numpy unpickles the content of object arrays itself, unless it is given as objects."""
    trace = tmp_path / 'trace'

    class Harm:
        def __reduce__(self):
            return eval, (f'open({str(trace)!r}, "w")', )

    torch.save(dict(array=np.array([Harm()], dtype=object)), tmp_path / 'a.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'a.pth')
    assert not trace.exists()


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_both_names_of_numpys_functions(tmp_path, module):
    data = pickle.dumps(dict(a=np.arange(6.).reshape(2, 3), b=np.int64(3)), protocol=2)
    for own in (b'numpy.core.multiarray', b'numpy._core.multiarray'):
        data = data.replace(b'c' + own + b'\n', b'c' + module.encode() + b'\n')
    loaded = load_program(tmp_path / 'a.pth', data[2:-1])
    assert loaded['a'].tolist() == [[0., 1., 2.], [3., 4., 5.]]
    assert loaded['b'] == 3
