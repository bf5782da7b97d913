"""Evaluate an exported model: ``python tools/deployment/test_exported.py CONFIG MODEL``."""
import argparse
import os
import sys
from collections.abc import Sequence

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)

from mmdet_centernet import cli
from mmdet_centernet.apis import ExportedDetector
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.errors import UserError
from mmdet_centernet.export.evaluate import evaluate


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Test an exported model on the config's test data")
    parser.add_argument('config', help='config file')
    parser.add_argument('model', help='*.onnx, *.xml or *.pt2 of tools/deployment/export.py')
    parser.add_argument('--backend', choices=['onnxruntime', 'openvino', 'torch'],
                        help="runtime (default: by the model's extension)")
    parser.add_argument('--device', default='cpu',
                        help="'cpu', 'cuda', 'cuda:1', or with openvino 'gpu' (default: cpu)")
    parser.add_argument('--threads', type=int, help='threads within an operation')
    parser.add_argument('--precision', choices=['float32', 'bfloat16'],
                        help="precision of openvino's computation (default: float32)")
    parser.add_argument('--tta', choices=['flip'],
                        help='require that the model was exported with --flip')
    parser.add_argument('--batch-size', type=int, default=1, help='images at a time (default: 1)')
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    cli.add_config_options(parser)
    parser.add_argument('--debug', action='store_true', help='show tracebacks')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Test as the command line says."""
    args = parse_args(argv)
    config = load_config(args.config, args.cfg_options)
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {args.out} is written as a pickle: name it *.pkl')
    detector = ExportedDetector(
        args.model, backend=args.backend, device=args.device, threads=args.threads, tta=args.tta,
        precision=args.precision)
    if args.out and config.get('test_evaluator') is not None:
        metrics = config.test_evaluator
        metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        config.test_evaluator = [*metrics, dict(type='mmdet.DumpDetResults',
                                                out_file_path=os.path.abspath(args.out))]
    figures = evaluate(config, detector, args.batch_size)
    print('  '.join(f'{name}: {value:.4f}' for name, value in figures.items()))


if __name__ == '__main__':
    sys.exit(cli.run(main))
