"""The progress line, without and with a terminal."""
import io
import logging
import os
import sys
from types import SimpleNamespace

import pytest
from helpers.cases import case
from hypothesis import given
from hypothesis import strategies as st
from mmengine.logging import MessageHub

from mmdet_centernet.engine.hooks import ProgressLineHook
from mmdet_centernet.engine.hooks import progress_line_hook as module
from mmdet_centernet.engine.hooks.progress_line_hook import duration


class FakeClock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(module.time, 'monotonic', lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    return FakeClock(monkeypatch)


def make_runner(name, stream, max_epochs=2, epoch_iters=5, val_interval=1):
    logger = logging.Logger(name)
    logger.addHandler(logging.StreamHandler(stream))
    return SimpleNamespace(
        logger=logger, iter=0, epoch=0, max_epochs=max_epochs, val_begin=1,
        max_iters=max_epochs * epoch_iters, val_loop=object(), val_interval=val_interval,
        message_hub=MessageHub.get_instance(name), val_dataloader=[0] * 4,
        test_dataloader=[0] * 4)


def train(hook, runner, clock, count, seconds):
    hook.before_train_epoch(runner)
    for index in range(count):
        clock.now += seconds
        runner.message_hub.update_scalar('train/loss', 3.0)
        runner.message_hub.update_scalar('train/loss_wh', 1.0)
        hook.after_train_iter(runner, index)
        runner.iter += 1


def test_duration():
    for seconds, text in [
        (0, '0 s'), (59.4, '59 s'), (59.6, '1 min 00 s'), (200, '3 min 20 s'),
        (3599.7, '1 h 00 min'), (7500, '2 h 05 min'),
    ]:
        with case(seconds, text):
            assert duration(seconds) == text


@given(st.floats(0, 1e6))
def test_duration_never_shows_sixty(seconds):
    assert '60' not in duration(seconds).split()[2::2]


def test_plain_lines_come_now_and_then(clock, capsys):
    runner = make_runner('plain', sys.stdout)
    hook = ProgressLineHook(plain_seconds=20)
    hook.before_run(runner)
    train(hook, runner, clock, 5, seconds=8)  # at 8, 16, ... seconds
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        'epoch 1/2, iteration 1/10, loss 3.000 (wh 1)',
        'epoch 1/2, iteration 4/10, 48 s left, loss 3.000 (wh 1)']
    hook.after_run(runner)


def test_time_left_counts_validations_to_come(clock, capsys):
    runner = make_runner('validations', sys.stdout, max_epochs=4)
    hook = ProgressLineHook(plain_seconds=0)
    hook.before_run(runner)
    train(hook, runner, clock, 5, seconds=1)
    hook.before_val_epoch(runner)
    clock.now += 30
    hook.after_val_epoch(runner)
    runner.epoch = 1
    train(hook, runner, clock, 1, seconds=1)
    # 14 iterations and three validations
    assert capsys.readouterr().out.splitlines()[-1].startswith(
        'epoch 2/4, iteration 6/20, 1 min 44 s left')
    hook.close()


@pytest.mark.parametrize('stage', ['val', 'test'])
def test_validation_and_test(clock, capsys, stage):
    runner = make_runner(stage, sys.stdout)
    hook = ProgressLineHook(plain_seconds=0)
    hook.before_run(runner)
    getattr(hook, f'before_{stage}_epoch')(runner)
    clock.now += 5
    getattr(hook, f'after_{stage}_iter')(runner, 0)
    assert 'batch 1/4, 15 s left' in capsys.readouterr().out
    hook.close()


def test_only_the_first_process_prints(clock, capsys, monkeypatch):
    monkeypatch.setattr(module, 'is_main_process', lambda: False)
    runner = make_runner('second', sys.stdout)
    hook = ProgressLineHook(plain_seconds=0)
    hook.before_run(runner)
    train(hook, runner, clock, 3, seconds=1)
    hook.after_run(runner)
    assert capsys.readouterr().out == ''


def log(runner, text, function, source='logger_hook'):
    runner.logger.handle(logging.LogRecord(
        'mmengine', logging.INFO, f'/x/{source}.py', 1, text, (), None, function))


def test_logger_hook_keeps_its_iteration_lines_for_the_file(clock, capsys):
    runner = make_runner('file', sys.stdout)
    hook = ProgressLineHook()
    hook.before_run(runner)
    log(runner, 'an iteration', 'after_train_iter')
    log(runner, 'the metrics', 'after_val_epoch')
    hook.close()
    log(runner, 'free again', 'after_train_iter')
    assert capsys.readouterr().out == 'the metrics\nfree again\n'


def test_live_line_stays_below_the_log(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stdout', terminal)
    monkeypatch.setitem(os.environ, 'TERM', 'xterm')
    monkeypatch.setitem(os.environ, 'COLUMNS', '80')
    runner = make_runner('live', terminal)
    hook = ProgressLineHook(refresh_seconds=0)
    hook.before_run(runner)
    train(hook, runner, clock, 3, seconds=2)
    log(runner, 'Saving checkpoint', 'after_train_epoch', 'checkpoint_hook')
    hook.close()
    hook.close()
    text = terminal.getvalue()
    assert 'epoch 1/2, iteration 3/10' in text and '14 s left, loss 3.000' in text
    assert 'Saving checkpoint' in text
    # The cursor is shown again and the logger writes to the terminal itself.
    assert text.rindex('\x1b[?25h') > text.rindex('\x1b[?25l')
    assert sys.stdout is terminal and runner.logger.handlers[0].stream is terminal
