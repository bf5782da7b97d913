"""Replace network outputs by ground truth: ``python tools/analysis_tools/oracle.py CONFIG``."""
import argparse
import sys

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)
from mmengine.logging import MMLogger
from rich import box
from rich.console import Console
from rich.table import Table

from mmdet_centernet import cli
from mmdet_centernet.analysis.oracle import HARD, LOST, measure
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.engine.runner import use_cpu
from mmdet_centernet.errors import UserError

FILE_WIDTH = 200  # characters
# Narrow, so that a terminal of 80 columns shows COCO's figures whole.
STYLE = dict(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def positive(text):
    """Parse a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is below 1')
    return number


def parse_args(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Decode ground truth in place of the network's outputs and evaluate it on "
        "the config's test data. Without a checkpoint: the ceiling of any network, before "
        'training. With one: the cost of each output. Works for boxes, poses, 3D boxes and '
        'any other property of the head.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--checkpoint',
                        help='combine ground truth with the outputs of this network')
    parser.add_argument('--parts', nargs='+', metavar='BRANCH',
                        help='with --checkpoint: replace only these branches, such as heatmap, '
                        'wh and offset')
    parser.add_argument('--stride', nargs='+', type=positive, metavar='PIXELS',
                        help='without --checkpoint: compare the ceilings of these strides')
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


def short_names(metrics):
    """Return column names of the metrics that are numbers: ``coco/bbox_mAP_50`` -> ``AP50``."""
    names = [name for name, value in metrics.items() if isinstance(value, (int, float))]
    prefixes = {name.rpartition('/')[0] for name in names}
    return {name: (name if len(prefixes) > 1 else name.rpartition('/')[2])
            .replace('bbox_mAP', 'AP').replace('AP_', 'AP') for name in names}


def origin(row, branches):
    """Describe which outputs are ground truth."""
    if row.mid_cell:
        return 'all, offset mid-cell'
    true = [name for name in branches if name not in row.network]
    return 'all' if len(true) == len(branches) else ', '.join(true) or 'none'


def metrics_table(outcome):
    """Return one row per experiment."""
    table = Table('stride', 'from ground truth', **STYLE)
    names = short_names(next(iter(outcome.metrics.values())))
    for name in names.values():
        table.add_column(name, justify='right')
    for row, metrics in outcome.metrics.items():
        # COCO gives -1 where there is no such object.
        values = ['-' if metrics[name] < 0 else f'{metrics[name]:.3f}' for name in names]
        table.add_row(str(row.stride), origin(row, outcome.branches), *values)
    return table


def objects_table(outcome):
    """Return the numbers of lost and hard objects at each stride, by the reasons that occur."""
    table = Table('objects', **STYLE)
    for stride in outcome.counts:
        table.add_column(f'stride {stride}', justify='right')
    for title, reasons in (('never found', LOST), ('hard to find', HARD)):
        for reason in reasons:
            counts = [count[reason] for count in outcome.counts.values()]
            if any(counts):
                table.add_row(f'{title}: {reason}', *map(str, counts))
    return table


def main(argv=None):
    """Measure and print the tables."""
    args = parse_args(argv)
    if args.parts and not args.checkpoint:
        raise UserError('--parts needs --checkpoint: without a network everything is ground '
                        'truth')
    config = load_config(args.config, args.cfg_options)
    if args.device == 'cpu':
        use_cpu()
    MMLogger.get_instance('oracle')  # shows what the data set says of its annotations
    outcome = measure(config, args.checkpoint, args.parts, args.stride)
    # A file is as wide as what is written into it.
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(f'{outcome.images} images with {outcome.objects} objects, and '
                  f'{outcome.ignored} to ignore; at most {outcome.limit} detections per image')
    console.print(metrics_table(outcome))
    objects = objects_table(outcome)
    console.print(objects if objects.rows else 'No object shares a cell, touches another of its '
                  'class, is too small or too many.')


if __name__ == '__main__':
    sys.exit(cli.run(main))
