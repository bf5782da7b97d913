"""Test a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""
import argparse
import os
import sys

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)

from mmdet_centernet import cli
from mmdet_centernet.checkpoints.download import local_checkpoint
from mmdet_centernet.checkpoints.read import checked_checkpoint
from mmdet_centernet.engine.config import add_hook, load_config
from mmdet_centernet.engine.runner import build_runner, close_hooks, set_up_device
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.test_options import (
    PRECISIONS,
    RESOLUTIONS,
    TTA_CHOICES,
    FasterModelHook,
    apply_test_options,
)


def parse_args(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(description="Test a checkpoint on the config's test data")
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument('--show-dir', metavar='DIR',
                        help='draw predictions beside the ground truth into this folder')
    parser.add_argument('--resolution', choices=RESOLUTIONS,
                        help="test at the images' own resolution, padded, or fit them into one "
                        'size (default: as the config does)')
    parser.add_argument('--tta', choices=TTA_CHOICES,
                        help='test-time augmentation: flipped images, or flipped images at '
                        "several scales (those of the config's tta_model)")
    parser.add_argument('--optimize', action='store_true',
                        help='fold batch norms into convolutions (same results, faster)')
    parser.add_argument('--precision', choices=PRECISIONS, default='float32',
                        help='data type of the network; float16 on GPUs only')
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


def add_outputs(config, args):
    """Add the outputs of ``--out`` and ``--show-dir`` to the config."""
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


def main(argv=None):
    """Test the checkpoint."""
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
    for hook in ('CheckNumClassesHook', 'SkeletonHook', 'CheckCheckpointHook',
                 'ProgressLineHook'):
        add_hook(config, f'mmdet_centernet.{hook}')
    runner = build_runner(config, args)
    if args.optimize or args.precision != 'float32':
        runner.register_hook(FasterModelHook(args.optimize, args.precision))
    try:
        runner.test()
    finally:
        close_hooks(runner)


if __name__ == '__main__':
    sys.exit(cli.run(main))
