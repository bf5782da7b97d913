"""Export a checkpoint.

    python tools/deployment/export.py CONFIG CHECKPOINT --output model.onnx
"""
import argparse
import sys
import warnings
from collections.abc import Sequence

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)

from mmdet_centernet import cli
from mmdet_centernet.checkpoints.download import local_checkpoint
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Write a detector as one graph, from image to detections, for other '
        'runtimes. It is compared with the detector before it is moved into place.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--output', required=True, metavar='FILE',
                        help='*.onnx, *.xml (OpenVINO) or *.pt2 (torch.export)')
    parser.add_argument('--format', help='onnx, openvino, pt2 or aotinductor (default: by the '
                        "file's extension)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--shape', type=int, nargs=2, metavar=('H', 'W'),
                      help="height and width of the input (default: size to which the config's "
                      'test pipeline fits images, else 512 512)')
    size.add_argument('--dynamic', action='store_true', help='allow any input size')
    parser.add_argument('--batch', default='1', metavar='N',
                        help="images of a batch, or 'dynamic' (default: 1)")
    parser.add_argument('--input', default='uint8', choices=['uint8', 'float'],
                        help='input format: images as OpenCV reads them, [B, H, W, 3] (default), '
                        'or normalized ones, [B, 3, H, W]')
    parser.add_argument('--dcn', default='grid_sample', choices=['grid_sample', 'deform_conv'],
                        help='how deformable convolutions are written: for every runtime '
                        "(default), or as ONNX's DeformConv (ONNX Runtime 1.25 and newer, "
                        'OpenVINO)')
    parser.add_argument('--opset', type=int, default=20, help="ONNX's operator set (default: 20)")
    parser.add_argument('--flip', action='store_true',
                        help='average with the flipped image, like --tta flip')
    parser.add_argument('--raw', action='store_true',
                        help="output the network's branches instead of detections")
    parser.add_argument('--int8', metavar='DIR',
                        help='quantize to 8 bits, calibrated on the images of this folder')
    parser.add_argument('--evaluate', action='store_true',
                        help="with --int8, test the model before and after on the config's data")
    cli.add_config_options(parser)
    parser.add_argument('--debug', action='store_true', help='show tracebacks')
    return parser.parse_args(argv)


def parse_batch(text: str) -> int | None:
    """Return the number of images of a batch, None for any.

    Raises:
        UserError: if the text is neither a number nor 'dynamic'.
    """
    if text == 'dynamic':
        return None
    if not text.isdecimal():
        raise UserError(f"--batch takes a number or 'dynamic', not {text!r}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Export as the command line says."""
    args = parse_args(argv)
    batch = parse_batch(args.batch)
    config = load_config(args.config, args.cfg_options)
    checkpoint = local_checkpoint(args.checkpoint)
    # Importing mmdet's models takes seconds, which a wrong command line need not wait for.
    from mmdet_centernet.export.export import export
    from mmdet_centernet.inference.loading import load_detector
    warnings.simplefilter('ignore', FutureWarning)  # PyTorch's own, of its exporter
    export(
        load_detector(config, checkpoint), config, args.output, format=args.format,
        shape=args.shape, dynamic=args.dynamic, batch=batch, kind=args.input, flip=args.flip,
        raw=args.raw, dcn=args.dcn, opset=args.opset, int8=args.int8, evaluate=args.evaluate)


if __name__ == '__main__':
    sys.exit(cli.run(main))
