"""Reports of the measurements, as Markdown and as JSON."""
import json
import os
import platform
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import measure
from networks import compiled_mmcv

from mmdet_centernet.errors import UserError

FORMAT = 1
PACKAGES = ('torch', 'mmdet', 'mmcv', 'mmcv-lite', 'mmengine', 'numpy', 'opencv-python',
            'onnx', 'onnxruntime', 'openvino', 'nncf')
_CPU_INFO = Path('/proc/cpuinfo')


def _versions():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor():
    """Return the processor's name, or its architecture if that is not known."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def describe_run(command, threads, rates):
    """Describe the run that the figures belong to, as plain data.

    Args:
        command (str): the command line.
        threads (int): used.
        rates (Rates): of the machine with these.
    """
    return dict(
        format=FORMAT,
        date=time.strftime('%Y-%m-%d %H:%M:%S %z'),
        command=command,
        machine=dict(processor=_processor(), cores=os.cpu_count(), system=platform.platform(),
                     python=platform.python_version()),
        versions=_versions(),
        compiled_mmcv=compiled_mmcv(),
        threads=threads,
        rates=dict(matrix_flops=rates.matrix, copy_bytes=rates.copy))


def row_data(result, rates):
    """Return the measurements of a row as plain data, in SI units and MiB."""
    row = result.row
    reference = result.times.get(row.reference)
    sides = []
    for side in row.sides:
        times = result.times.get(side.name)
        if times is None:
            continue
        entry = dict(name=side.name, settings=side.settings, processes=side.processes,
                     seconds=times.seconds, best=times.best, median=times.median)
        if row.images:
            entry['images_per_second'] = row.images / times.best
        if reference is not None and side.name != row.reference:
            entry['times_faster_best'], entry['times_faster_median'] = measure.ratios(
                reference, times)
        used = result.memory.get(side.name)
        if used:
            entry.update(peak_mib=used.peak, work_mib=used.work)
            other = result.memory.get(row.reference)
            if other and side.name != row.reference:
                entry['peak_of_reference'] = used.peak / other.peak
        if result.cost:
            matrix, copy = result.cost.seconds(rates, side.dtype)
            entry.update(
                dtype=side.dtype, seconds_at_matrix_rate=matrix, seconds_at_copy_rate=copy,
                share_of_roofline=max(matrix, copy) / times.best)
        sides.append(entry)
    data = dict(group=row.group, table=row.table, title=row.title, images=row.images,
                threads=row.threads, reference=row.reference, sides=sides,
                failures=result.failures)
    if result.cost:
        data.update(flops=result.cost.flops, bytes=result.cost.bytes)
    return data


# Title of a column and its text from a row's and a side's data; a column without any is left
# out of a table. For each: KeyError says that there is none.
_COLUMNS = (
    ('best ms', lambda row, side: f'{side["best"] * 1e3:.1f}'),
    ('median ms', lambda row, side: f'{side["median"] * 1e3:.1f}'),
    ('images/s', lambda row, side: f'{side["images_per_second"]:.2f}'),
    ('times faster, best', lambda row, side: _number(side['times_faster_best'])),
    ('times faster, median', lambda row, side: _number(side['times_faster_median'])),
    ('peak MiB', lambda row, side: f'{side["peak_mib"]:.0f}'),
    ('of it work MiB', lambda row, side: f'{side["work_mib"]:.0f}'),
    ("peak / reference's", lambda row, side: f'{side["peak_of_reference"]:.2f}'),
    ('GFLOP', lambda row, side: f'{row["flops"] / 1e9:.1f}'),
    ('ms at matrix rate', lambda row, side: f'{side["seconds_at_matrix_rate"] * 1e3:.1f}'),
    ('ms at copy rate', lambda row, side: f'{side["seconds_at_copy_rate"] * 1e3:.1f}'),
    ('share of roofline', lambda row, side: f'{side["share_of_roofline"]:.2f}'),
)


def _number(ratio):
    """Format a ratio with at least two significant digits."""
    return f'{ratio:.1f}' if ratio >= 10 else f'{ratio:.2f}' if ratio >= 0.1 else f'{ratio:.4f}'


def _cell(value, row, side):
    try:
        return value(row, side)
    except KeyError:
        return ''


def markdown(run, rows):
    """Format the report.

    Args:
        run (dict): of :func:`describe_run`.
        rows (list[dict]): of :func:`row_data`.

    Returns:
        str: machine, a table per group, and what did not run.
    """
    matrix = ', '.join(f'{name} {rate / 1e9:.0f}'
                       for name, rate in run['rates']['matrix_flops'].items())
    parts = [
        f'{run["machine"]["processor"]}, {run["threads"]} threads of {run["machine"]["cores"]} '
        'cores; ' + ', '.join(f'{name} {value}' for name, value in run['versions'].items())
        + f'; {run["date"]}',
        f"`{run['command']}`",
        f'Matrix product, GFLOP/s: {matrix}; copy: {run["rates"]["copy_bytes"] / 1e9:.1f} GB/s']
    tables = {}
    for row in rows:
        tables.setdefault((row['group'], row['table']), []).append(row)
    for (group, table), members in tables.items():
        lines = [(row, side) for row in members for side in row['sides']]
        if lines:
            heading = f'{group}: {table}' if table else group
            parts.append(f'### {heading}\n\n{_table(members[0]["reference"], lines)}')
    failures = [failure for row in rows for failure in row['failures']]
    if failures:
        parts.append('Not measured:\n\n' + '\n'.join(f'- {failure}' for failure in failures))
    if not run['compiled_mmcv']:
        parts.append("Without mmcv's compiled operations mmdet has no DCNv2: beside it stands "
                     'ResNet-18 without it.')
    return '\n\n'.join(parts) + '\n'


def _table(reference, lines):
    texts = [[_cell(value, row, side) for _, value in _COLUMNS] for row, side in lines]
    kept = [index for index in range(len(_COLUMNS)) if any(text[index] for text in texts)]
    titles = [_COLUMNS[index][0].replace('reference', reference) for index in kept]
    head = ['work', 'side', *titles]
    table = [head, ['---', '---', *['--:'] * len(kept)]]
    table += [[row['title'], side['name'], *(text[index] for index in kept)]
              for (row, side), text in zip(lines, texts)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in table)


def check_writable(path):
    """Check that a report can be written, before any work.

    Raises:
        UserError: if it cannot be written.
    """
    folder = Path(path).parent
    if Path(path).is_dir():
        raise UserError(f'--json {path} is a folder: name a file to write')
    if not folder.is_dir():
        raise UserError(f'--json {path} cannot be written: there is no folder {folder}')
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        if Path(path).exists():
            with open(path, 'a'):
                pass
    except OSError as error:
        raise UserError(f'--json {path} cannot be written: {error.strerror}') from error


def write_json(path, run, rows):
    """Write all measurements."""
    Path(path).write_text(json.dumps(dict(run, rows=rows), indent=1) + '\n')
