"""Turn a checkpoint of another CenterNet into one of this package, or back.

``python tools/model_converters/convert_checkpoint.py CONFIG SRC DST [--to official]``
``python tools/model_converters/convert_checkpoint.py SRC``
"""
import argparse
import sys

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)

from mmdet_centernet import cli
from mmdet_centernet.checkpoints.convert import (
    check_target,
    color_note,
    convert,
    describe,
    to_official,
    write_checkpoint,
)
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.errors import UserError


def parse_args(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        usage='%(prog)s CONFIG SRC DST [--to official] [--cfg-options KEY=VALUE ...]\n'
              '       %(prog)s SRC',
        description='Convert a checkpoint of another CenterNet (the original, MMDetection, '
        'bubbliiiing), or, with --to official, into the original\'s; with SRC alone say what '
        'it is and which config fits')
    parser.add_argument('paths', nargs='+', metavar='CONFIG SRC DST',
                        help='config of the model, checkpoint to read, checkpoint to write')
    parser.add_argument('--to', choices=['official'],
                        help="write the original's parameter names")
    cli.add_config_options(parser)
    parser.add_argument('--debug', action='store_true', help='show tracebacks')
    return parser.parse_args(argv)


def main(argv=None):
    """Convert as the command line says."""
    args = parse_args(argv)
    if len(args.paths) != 3:
        without_config = [path for path in args.paths if not path.endswith('.py')]
        if not without_config:
            raise UserError(f'{args.paths[0]} is a config: name the checkpoint too')
        if len(args.paths) == 1:
            print(describe(args.paths[0]))
            return
        raise UserError('three paths are needed, CONFIG SRC DST, not '
                        f'{len(args.paths)}; {describe(without_config[0])}')
    config_path, source_path, target = args.paths
    config = load_config(config_path, args.cfg_options)
    check_target(target, source_path)
    checkpoint, source = convert(config, source_path)
    note = color_note(config, source, back=bool(args.to))
    if args.to:
        checkpoint = to_official(checkpoint, config)
    write_checkpoint(checkpoint, target)
    print(f'{source_path} is a checkpoint of {source.title}; '
          f'{len(checkpoint["state_dict"])} tensors written to {target}')
    if note:
        print(f'note: {note}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
