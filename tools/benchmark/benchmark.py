"""Compare this package's CenterNet with MMDetection's: what it takes, in time and memory.

Both do the same work on the same data with equal weights, in turn, so that a busy machine slows
both; what counts is the ratio. mmdet's DCNv2 needs mmcv's compiled operations: without them
ResNet-18 is compared without DCN. docs/performance.md says what each row is.

    python tools/benchmark/benchmark.py                     # every row but scaling
    python tools/benchmark/benchmark.py encode loss         # these
    python tools/benchmark/benchmark.py train --threads 2 --json train.json
"""
# Beside this file: `rows` says what is compared; `heads`, `networks`, `pipelines`, `exported` and
# `own` build the work; `run`, `measure`, `memory`, `parallel` and `roofline` measure it; `report`
# writes the tables.
import argparse
import shlex
import sys

import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)
import report
import roofline
import rows
import torch
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import Progress
from run import measure_row

from mmdet_centernet import cli
from mmdet_centernet.errors import UserError


def parse_args(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='*', metavar='ROW',
                        help=f'any of {", ".join(rows.GROUPS)} (default: all but '
                        f'{", ".join(rows.LEFT_OUT)})')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(),
                        help='that the work may use (default: as PyTorch chooses, %(default)s)')
    parser.add_argument('--repeats', type=int, default=9,
                        help='rounds of all sides of a row in turn (default %(default)s)')
    parser.add_argument('--seconds', type=float, default=60,
                        help='most time for the rounds of a row, of which there are three at '
                        'least (default %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='write all figures to this file too')
    return parser.parse_args(argv)


def check(args):
    """Say what is wrong with the arguments before anything is measured.

    Raises:
        UserError: for an unknown row, a number that is too small, a file that cannot be written.
    """
    for name in args.rows:
        if name not in rows.GROUPS:
            raise UserError(f'there is no row {name!r}: choose from {", ".join(rows.GROUPS)}')
    for name in ('threads', 'repeats'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name} {getattr(args, name)} is below 1')
    if not args.seconds > 0:
        raise UserError(f'--seconds {args.seconds} is not above 0')
    if args.json:
        report.check_writable(args.json)


def with_progress(chosen):
    """The rows, with what is measured and the time left on stderr."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task('', total=len(chosen))
        for number, row in enumerate(chosen, start=1):
            name = f'{row.group}: {f"{row.table}: " if row.table else ""}{row.title}'
            progress.update(task, description=name)
            if not console.is_terminal:
                console.print(f'{number}/{len(chosen)} {name}', soft_wrap=True)
            yield row
            progress.advance(task)


def main(argv=None):
    """Measure the rows, print Markdown, write JSON."""
    args = parse_args(argv)
    check(args)
    init_default_scope('mmdet')
    torch.set_num_threads(args.threads)
    arguments = sys.argv[1:] if argv is None else argv
    command = f'python tools/benchmark/benchmark.py {shlex.join(arguments)}'.strip()
    rates = roofline.measure_rates()
    run = report.describe_run(command, args.threads, rates)
    chosen = rows.rows_of(args.rows, args.threads)
    measured = []
    try:
        for row in with_progress(chosen):
            result = measure_row(row, args.threads, args.repeats, args.seconds)
            measured.append(report.row_data(result, rates))
    finally:
        # Also what was measured before somebody grew impatient.
        print(report.markdown(run, measured))
        if args.json:
            report.write_json(args.json, run, measured)


if __name__ == '__main__':
    sys.exit(cli.run(main))
