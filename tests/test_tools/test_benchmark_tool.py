"""The benchmark prints a table of what it measured."""
import importlib.util
import time

import pytest
import tiny_project


@pytest.fixture(scope='module')
def benchmark():
    path = tiny_project.ROOT / 'tools' / 'analysis' / 'benchmark.py'
    spec = importlib.util.spec_from_file_location('tool_benchmark', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['encode', 'loss', 'decode', 'train', 'predict', 'tta', 'pose'])
def test_both_sides_of_a_row_run(benchmark, name):
    """At a small size: both sides of every pair do their work."""
    build = getattr(benchmark, f'{name}_row')
    small = dict(height=40, width=50) if name == 'tta' else dict(batch=1, size=64)
    if name in ('train', 'predict', 'tta', 'pose'):
        small['use_dcn'] = False
    for run in build(**small):
        run()


def test_table(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(
        benchmark, 'rows', lambda _: [
            ('encode', 'encode, small', lambda: benchmark.encode_row(batch=1, size=64)),
            ('loss', 'loss, small', lambda: benchmark.loss_row(batch=1, size=64)),
            ('tta', 'tta, small', lambda: (lambda: time.sleep(0.02), lambda: time.sleep(0.01)))])
    benchmark.main(['encode', 'tta', '--repeats', '3'])
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if 'small' in line]
    assert [row.split(',')[0] for row in rows] == ['| encode', '| tta']
    for row in rows:
        assert all(float(cell) > 0 for cell in row.strip('|').split('|')[1:])
    # Slower than its parts, not faster than mmdet.
    assert float(rows[1].split('|')[4]) > 1
    assert 'torch' in out and 'threads' in out
