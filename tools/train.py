"""Train a detector: ``python tools/train.py configs/centernet_r18_dcn_140e_coco.py``."""
import argparse
import os
import shlex
import sys
from collections.abc import Sequence

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)
from mmengine.config import Config
from mmengine.device import get_device

from mmdet_centernet import cli
from mmdet_centernet.checkpoints.download import local_checkpoint
from mmdet_centernet.checkpoints.read import checked_checkpoint
from mmdet_centernet.engine.config import add_run_hooks, load_config
from mmdet_centernet.engine.runner import build_runner, close_hooks, rank_of, set_up_device
from mmdet_centernet.engine.work_dir import latest_checkpoint, set_aside
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.inputs import is_local


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Train a detector')
    parser.add_argument('config', help='config file')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='resume from this checkpoint, or from the last one in the work-dir')
    parser.add_argument('--amp', action='store_true',
                        help='mixed precision: float16 on GPUs, bfloat16 on CPUs')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate with the whole batch size')
    parser.add_argument('--seed', type=int, help='seed of all random numbers')
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


def use_mixed_precision(config: Config) -> None:
    """Replace the optimizer wrapper by the device's mixed-precision one."""
    if config.optim_wrapper.get('type', 'OptimWrapper') != 'OptimWrapper':
        if 'Amp' in config.optim_wrapper.type:
            return
        raise UserError(f'--amp cannot replace optim_wrapper.type={config.optim_wrapper.type}: '
                        'choose a mixed-precision wrapper in the config')
    if get_device() == 'cpu':
        config.optim_wrapper.type = 'mmdet_centernet.CPUAmpOptimWrapper'
    else:
        config.optim_wrapper.type = 'AmpOptimWrapper'
        config.optim_wrapper.loss_scale = 'dynamic'


def scale_learning_rate(config: Config) -> None:
    """Switch on the config's ``auto_scale_lr``."""
    if not config.get('auto_scale_lr') or 'base_batch_size' not in config.auto_scale_lr:
        raise UserError('--auto-scale-lr needs to know which batch size the learning rate is '
                        'meant for: set auto_scale_lr=dict(base_batch_size=N) in the config')
    config.auto_scale_lr.enable = True


def choose_start(config: Config, args: argparse.Namespace, is_main: bool) -> None:
    """Decide where weights come from, and keep an earlier run's checkpoints from being lost."""
    resume = args.resume
    if resume == 'auto' or (resume is None and config.get('resume')):
        resume = latest_checkpoint(config.work_dir) if resume or not config.get(
            'load_from') else config.load_from
        if resume is None and is_main:
            print(f'nothing to resume in {config.work_dir}: training starts at the beginning')
    if resume is not None:
        resume = local_checkpoint(resume)
        meta = checked_checkpoint(resume)
        if is_local(resume) and not {'epoch', 'iter'} <= meta.keys():
            raise UserError(f'checkpoint {resume} holds weights but no training state: start '
                            f'from its weights with --cfg-options load_from={resume}')
        config.resume, config.load_from = True, resume
        # The order of images depends on the seed and is fixed before the checkpoint is read.
        if config.get('randomness', {}).get('seed') is None and meta.get('seed') is not None:
            config.randomness = dict(config.get('randomness', {}), seed=meta['seed'])
        if is_main and is_local(resume):
            inside = os.path.dirname(os.path.abspath(resume)) == os.path.abspath(config.work_dir)
            report(set_aside(config.work_dir, resume if inside else None,
                             os.path.getmtime(resume) if inside else None))
        return
    config.resume = False
    start = config.get('load_from')
    if start:
        start = config.load_from = local_checkpoint(start)
    if start and is_local(start):
        if not os.path.exists(start):
            raise UserError(
                f'load_from={start}, from which the training is to start, does not exist: put '
                'the checkpoint there (docs/weights.md: how to convert published ones), name '
                'another with --cfg-options load_from=FILE, or start without one with '
                '--cfg-options load_from=None')
        checked_checkpoint(start)
        if os.path.dirname(os.path.abspath(start)) == os.path.abspath(config.work_dir):
            raise UserError(f'load_from={start} lies in the work-dir, whose checkpoints the '
                            'training would replace: choose another --work-dir')
    if is_main:
        report(set_aside(config.work_dir))


def report(folder: str | os.PathLike | None) -> None:
    """Print where an earlier run's checkpoints went, if there were any."""
    if folder is not None:
        print(f'checkpoints of an earlier run were moved to {folder}')


def resume_hint(args: argparse.Namespace, config: Config) -> str:
    """Return what to print after Ctrl-C."""
    if latest_checkpoint(config.work_dir) is None:
        return 'stopped before the first checkpoint was saved'
    arguments = [a for a in sys.argv if not a.startswith('--resume')]
    if args.resume not in (None, 'auto'):
        arguments = [a for a in arguments if a != args.resume]
    return f'stopped; go on with: {shlex.join(["python", *arguments, "--resume"])}'


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    args = parse_args(argv)
    config = load_config(args.config, args.cfg_options, args.work_dir)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not config.get(key):
            raise UserError(f'config {args.config} has no {key}: it cannot be trained')
    if args.seed is not None:
        config.randomness = dict(config.get('randomness', {}), seed=args.seed)
    if args.auto_scale_lr:
        scale_learning_rate(config)
    set_up_device(config, args)
    if args.amp:
        use_mixed_precision(config)
    choose_start(config, args, is_main=rank_of(args.launcher)[0] == 0)
    add_run_hooks(config)
    runner = build_runner(config, args)
    try:
        runner.train()
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(resume_hint(args, config)) from stop
    finally:
        close_hooks(runner)


if __name__ == '__main__':
    sys.exit(cli.run(main))
