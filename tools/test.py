"""Test a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""
import argparse
import os
import sys
from collections.abc import Sequence

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)
from mmengine.config import Config

from mmdet_centernet import cli
from mmdet_centernet.checkpoints.download import local_checkpoint
from mmdet_centernet.checkpoints.read import checked_checkpoint
from mmdet_centernet.engine.config import add_run_hooks, load_config
from mmdet_centernet.engine.runner import build_runner, close_hooks, set_up_device
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.optimize import PRECISIONS, FasterModelHook
from mmdet_centernet.inference.overrides import apply_test_options
from mmdet_centernet.inference.resolution import RESOLUTIONS
from mmdet_centernet.inference.tta import TTA_CHOICES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Test a checkpoint on the config's test data")
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument('--show-dir', metavar='DIR',
                        help='draw predictions beside the ground truth into this folder')
    parser.add_argument('--resolution', choices=RESOLUTIONS,
                        help="test at the images' own resolution, padded, or fit them into one "
                        'size (default: as the config does)')
    parser.add_argument('--tta', choices=TTA_CHOICES, nargs='?', const='config',
                        help="test-time augmentation: by the config's tta_model and tta_pipeline "
                        '(--tta alone), by averaging with the flipped image, or by that at '
                        'several scales')
    parser.add_argument('--optimize', action='store_true',
                        help='fold batch norms into convolutions (same results, faster)')
    parser.add_argument('--precision', choices=PRECISIONS, default='float32',
                        help='data type of the network; float16 on GPUs only')
    cli.add_common_arguments(parser)
    return parser.parse_args(_with_tta_as_a_flag(sys.argv[1:] if argv is None else argv))


def _with_tta_as_a_flag(argv: Sequence[str]) -> list[str]:
    """Keep argparse from taking a file that follows ``--tta`` for its value."""
    arguments = [str(each) for each in argv]
    is_file = ['.' in each or os.sep in each for each in arguments[1:]] + [False]
    return ['--tta=config' if each == '--tta' and before_file else each
            for each, before_file in zip(arguments, is_file)]


def add_outputs(config: Config, args: argparse.Namespace) -> None:
    """Have predictions written and drawn where the user asked for it.

    Raises:
        UserError: if predictions would be written to a file that is not named as a pickle.
    """
    if args.out:
        if not args.out.endswith(('.pkl', '.pickle')):
            raise UserError(f'--out {args.out} is written as a pickle: name it *.pkl')
        metrics = config.test_evaluator
        metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        config.test_evaluator = [*metrics, dict(type='mmdet.DumpDetResults',
                                                out_file_path=os.path.abspath(args.out))]
    if args.show_dir:
        config.setdefault('default_hooks', {})
        # An absolute path, because the hook puts it below the work_dir's time stamp otherwise.
        config.default_hooks['visualization'] = dict(
            type='mmdet.DetVisualizationHook', draw=True,
            test_out_dir=os.path.abspath(args.show_dir))
        # MMEngine's own, which a config without one gets, draws nothing.
        config.visualizer = config.get('visualizer') or dict(
            type='mmdet.DetLocalVisualizer', name='visualizer')


def main(argv: Sequence[str] | None = None) -> None:
    """Test as the command line says."""
    args = parse_args(argv)
    config = load_config(args.config, args.cfg_options, args.work_dir)
    for key in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        if config.get(key) is None:
            raise UserError(f'config {args.config} has no {key}: it cannot be tested')
    apply_test_options(config, args.resolution, args.tta)
    config.load_from, config.resume = local_checkpoint(args.checkpoint), False
    checked_checkpoint(config.load_from)
    add_outputs(config, args)
    set_up_device(config, args)
    add_run_hooks(config)
    runner = build_runner(config, args)
    if args.optimize or args.precision != 'float32':
        runner.register_hook(FasterModelHook(args.optimize, args.precision))
    try:
        runner.test()
    finally:
        close_hooks(runner)


if __name__ == '__main__':
    sys.exit(cli.run(main))
