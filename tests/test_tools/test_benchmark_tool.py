"""The benchmark prints a table of what it measured."""
import importlib.util

import pytest
import tiny_project


@pytest.fixture(scope='module')
def benchmark():
    path = tiny_project.ROOT / 'tools' / 'analysis' / 'benchmark.py'
    spec = importlib.util.spec_from_file_location('tool_benchmark', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['encode', 'loss', 'decode', 'train', 'predict'])
def test_both_sides_of_a_row_run(benchmark, name):
    """At a small size: both sides of every pair do their work."""
    build = getattr(benchmark, f'{name}_row')
    small = dict(batch=1, size=64)
    if name in ('train', 'predict'):
        small['use_dcn'] = False
    for run in build(**small):
        run()


def test_table(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(
        benchmark, 'rows', lambda _: [
            ('encode', 'encode, small', lambda: benchmark.encode_row(batch=1, size=64)),
            ('loss', 'loss, small', lambda: benchmark.loss_row(batch=1, size=64))])
    benchmark.main(['encode', '--repeats', '3'])
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith('| encode, small')]
    assert 'loss, small' not in out and len(rows) == 1
    assert all(float(cell) > 0 for cell in rows[0].strip('|').split('|')[1:])
    assert 'torch' in out and 'threads' in out
