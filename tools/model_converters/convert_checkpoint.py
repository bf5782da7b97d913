"""Turn a checkpoint of MMDetection's CenterNet into one of this package.

``python tools/model_converters/convert_checkpoint.py CONFIG SRC DST``
"""
import argparse
import sys

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)

from mmdet_centernet.apis import cli
from mmdet_centernet.apis.convert_checkpoint import convert, write_checkpoint
from mmdet_centernet.errors import UserError


def parse_args(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(description='Convert a checkpoint of another CenterNet')
    parser.add_argument('config', help='config of the model that the weights are for')
    parser.add_argument('source', metavar='SRC', help='checkpoint to read')
    parser.add_argument('target', metavar='DST', help='checkpoint to write')
    parser.add_argument('--debug', action='store_true', help='show tracebacks')
    return parser.parse_args(argv)


def main(argv=None):
    """Convert as the command line says."""
    args = parse_args(argv)
    config = cli.load_config(args.config)
    if not args.target.endswith('.pth'):
        raise UserError(f'{args.target} is to be a checkpoint: name it *.pth')
    checkpoint, source = convert(config, args.source)
    write_checkpoint(checkpoint, args.target)
    print(f'{args.source} is a checkpoint of {source.title}; '
          f'{len(checkpoint["state_dict"])} tensors written to {args.target}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
