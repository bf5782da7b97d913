"""Draw a checkpoint's predictions: ``python tools/demo_pictures.py CONFIG CHECKPOINT``."""
import argparse
import os
import sys

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)

from mmdet_centernet import cli
from mmdet_centernet.analysis.comparison import write_figures
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.engine.runner import use_cpu


def parse_args(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Draw ground truth, predictions and heatmaps side by side: skeletons and '
                    'keypoint heatmaps of a pose model, 3D boxes of a 3D model, also in the '
                    'bird\'s-eye view')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out-dir', required=True, help='folder for the figures')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='val')
    parser.add_argument('--count', type=int, default=6, help='number of images')
    parser.add_argument('--score-thr', type=float, default=0.25,
                        help='predictions below it are not drawn')
    parser.add_argument('--kpt-thr', type=float, default=0.3,
                        help='keypoints with a lower score are not drawn')
    parser.add_argument('--format', choices=['png', 'jpg'], default='png')
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


def main(argv=None):
    """Draw the figures."""
    args = parse_args(argv)
    config = load_config(args.config, args.cfg_options)
    if args.device == 'cpu':
        use_cpu()
    figures = list(write_figures(config, args.checkpoint, args.out_dir, args.split,
                                 args.count, args.score_thr, args.kpt_thr, args.format))
    print(f'\n{len(figures)} figures of {args.split} images with ground truth, predictions and '
          'heatmaps:')
    for path in figures:
        print(f'  {os.path.relpath(path)}')
    print(f'Look at them in {os.path.abspath(args.out_dir)}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
