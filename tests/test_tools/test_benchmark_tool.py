"""The benchmark compares equal work, and its figures are those of the work that they stand by."""
import itertools
import json
import multiprocessing
import os
import sys
from pathlib import Path

import benchmark_work
import numpy as np
import pytest
import torch
from helpers.cases import case
from torch import nn

from mmdet_centernet.errors import UserError

# The benchmark's modules import each other by their bare names.
sys.path.insert(0, str(Path(__file__).parents[2] / 'tools/benchmark'))
import exported  # noqa: E402
import heads  # noqa: E402
import measure  # noqa: E402
import memory  # noqa: E402
import networks  # noqa: E402
import own  # noqa: E402
import parallel  # noqa: E402
import pipelines  # noqa: E402
import report  # noqa: E402
import roofline  # noqa: E402
import rows  # noqa: E402
from run import measure_row  # noqa: E402
from side import Row, Side  # noqa: E402

TOOL = 'benchmark/benchmark.py'
SMALL = dict(batch=2, size=64, classes=5)
MMDET_MODEL = rows.r18()


# --- both sides do the same work -------------------------------------------------------------

def both(build, **settings):
    """What a run of mmdet's side and of ours returns."""
    return [build(side=side, **settings)() for side in ('mmdet', 'ours')]


def test_encode_gives_equal_targets():
    (theirs, avg_factor), ours = both(heads.encode, objects=6, **SMALL)
    heatmap = ours['heatmap'].heatmap
    torch.testing.assert_close(
        heatmap.to_dense(), theirs['center_heatmap_target'], rtol=1e-5, atol=1e-7)
    assert heatmap.num_peaks() == avg_factor > 0


def test_losses_and_gradients_are_equal():
    (theirs, their_grads), (ours, our_grads) = both(heads.loss, objects=6, **SMALL)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].item() == pytest.approx(value.item(), rel=1e-4), name
    for ours, theirs in zip(our_grads, their_grads):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-7)


def assert_equal_detections(theirs, ours):
    """As sets; mmdet fills up with detections of score 0."""
    for other, mine in zip(theirs, ours, strict=True):
        other = other[other.scores > 0]
        assert len(mine) == len(other) > 10
        far = torch.cdist(mine.bboxes, other.bboxes, p=float('inf'))
        same = (far < 0.01) & ((mine.scores[:, None] - other.scores).abs() < 1e-4) & (
            mine.labels[:, None] == other.labels)
        assert same.any(dim=0).all() and same.any(dim=1).all()


def test_decode_finds_the_same():
    assert_equal_detections(*both(heads.decode, **SMALL))


def test_predict_finds_the_same():
    assert_equal_detections(*(
        [sample.pred_instances for sample in found]
        for found in both(networks.predict, model=MMDET_MODEL, batch=2, size=96)))


def test_training_steps_lose_the_same():
    theirs, ours = both(networks.train, model=MMDET_MODEL, objects=4, **SMALL)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].item() == pytest.approx(value.item(), rel=1e-3), name


def test_networks_have_peaks_and_are_always_the_same():
    """Weights that start give flat heat maps: nothing would be compared by equal results."""
    first, second = (networks.forward('R18-DCN', size=64)()[0][-1]['heatmap'] for _ in range(2))
    assert first.std() > 0.3
    model = networks.our_model('R18-DCN').eval()
    assert model.neck(model.backbone(torch.ones(1, 3, 64, 64)))[0].std() > 0.1
    assert all(norm.momentum == 0.1 for norm in model.modules() if isinstance(
        norm, nn.BatchNorm2d))
    assert first.shape == second.shape
    for (name, one), other in zip(
            model.state_dict().items(), networks.our_model('R18-DCN').state_dict().values()):
        assert torch.equal(one, other), name


@pytest.mark.skipif(not networks.compiled_mmcv(), reason='mmcv has no compiled operations')
@pytest.mark.parametrize('backward', [False, True])
def test_deformable_layers_are_equal(backward):
    (theirs, their_grads), (ours, our_grads) = both(
        networks.dcn, in_channels=8, out_channels=6, size=9, batch=2, backward=backward)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(our_grads) == len(their_grads) == (5 if backward else 0)
    for mine, other in zip(our_grads, their_grads):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(networks.compiled_mmcv(), reason='mmcv has its compiled operations')
@pytest.mark.parametrize('build, settings', [
    (networks.dcn, dict(in_channels=8, out_channels=8, size=4)),
    (networks.predict, dict(model='R18-DCN')), (networks.train, dict(model='R18-DCN'))])
def test_rows_that_need_compiled_operations_say_so(build, settings):
    with pytest.raises(UserError, match='compiled operations.*make test-compiled'):
        build(side='mmdet', **settings)


def test_our_deformable_layer_runs():
    out, grads = networks.dcn(
        'ours', in_channels=8, out_channels=6, size=9, batch=2, backward=True)()
    assert out.shape == (2, 6, 9, 9)
    assert [grad.shape[:2] for grad in grads] == [(2, 8), (6, 8), (6,), (27, 8), (27,)]
    assert not networks.dcn('ours', 8, 6, 9)()[0].requires_grad


def test_pipelines_give_images_of_one_size_with_the_same_objects():
    for side in ('mmdet', *pipelines.OUR_CONFIGS):
        run = pipelines.load(side, count=3)
        first, second = run(), run()
        assert len(first) == 3
        for one, other in zip(first, second):
            assert one['inputs'].shape == (3, 512, 512)
            # Each run makes the same random choices, whatever another side drew between.
            assert torch.equal(one['inputs'], other['inputs'])
        assert sum(len(one['data_samples'].gt_instances) for one in first) > 3


def test_photographs_are_of_the_size_and_detail_of_photographs():
    import cv2
    infos = pipelines.photographs(3)
    assert infos is pipelines.photographs(3)
    for info in infos:
        assert cv2.imread(info['img_path']).shape == (480, 640, 3)
        # An image of COCO takes 50 to 300 kB, a plain one 5, noise 600.
        assert 40e3 < os.path.getsize(info['img_path']) < 400e3
        boxes = np.array([instance['bbox'] for instance in info['instances']])
        assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.max() < 640


def test_own_work_runs():
    assert len(own.tta('all', 40, 50, 'R18')()) == 1
    assert len(own.tta('network', 40, 50, 'R18')()) == 5
    assert 'keypoints' in own.pose('decoding', batch=1, size=64)()[0]
    assert 'keypoint_heatmap' in own.pose('network', batch=1, size=64)()[0][-1]


@pytest.mark.parametrize('settings, ending, precision', [
    (dict(backend='onnxruntime'), '.onnx', None),
    (dict(backend='onnxruntime', dcn='deform_conv'), '.onnx', None),
    (dict(backend='openvino'), '.xml', None),
    (dict(backend='openvino', precision='bfloat16'), '.xml', 'bfloat16')])
def test_exported_models_get_the_image_that_mmdet_gets(
        monkeypatch, settings, ending, precision):
    """That the graph finds what PyTorch does, the export itself sees to."""
    asked = {}

    def export(model, config, path, **options):
        asked.update(options, model=model, path=path)

    def open_model(path, backend, **options):
        assert path == asked['path'] and backend == settings['backend']
        asked.update(options)
        return lambda feeds: feeds['image']

    monkeypatch.setattr(exported, '_file', exported._file.__wrapped__)
    monkeypatch.setattr(exported, 'export', export)
    monkeypatch.setattr(exported, 'open_model', open_model)
    image, = exported.predict(**settings, model='lite0', size=64)()
    given, = networks.image_batch(1, 64)['inputs']
    assert np.array_equal(image, given.permute(1, 2, 0)) and image.dtype == np.uint8
    assert asked['path'].suffix == ending and asked['shape'] == (64, 64)
    assert asked['precision'] == precision and asked['threads'] == torch.get_num_threads()
    assert asked['dcn'] == settings.get('dcn', 'grid_sample')
    assert not asked['model'].training and len(asked['model'].dataset_meta['classes']) == 80
    weights = networks.our_model('lite0').state_dict()
    assert all(torch.equal(value, weights[name])
               for name, value in asked['model'].state_dict().items())


# --- measuring -------------------------------------------------------------------------------

def test_work_is_measured_in_turn():
    order = []
    now = [0.0]

    def work(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds
        return run

    works = [work('a', 1.0), work('b', 3.0)]
    taken = measure.in_turn(works, repeats=4, seconds=100, clock=lambda: now[0])
    assert order == ['a', 'b'] * 4
    assert [times.seconds for times in taken] == [[1.0] * 4, [3.0] * 4]
    # No fourth round begins after 100 s, but three are measured however long they take.
    for limit, rounds in ((0.5, 3), (12.5, 4), (1000, 7)):
        order.clear()
        assert len(measure.in_turn(works, 7, limit, lambda: now[0])[1].seconds) == rounds


def test_best_median_and_ratios():
    slow, fast = measure.Times([6.0, 4.0, 30.0]), measure.Times([2.0, 1.0, 10.0])
    assert (slow.best, slow.median) == (4.0, 6.0)
    # A disturbance of the third round, which slowed both, does not count.
    assert measure.ratios(slow, fast) == (4.0, 3.0)


def test_processes_work_at_once():
    """Two that sleep do twice as much as one; the figure is seconds per run."""
    times = parallel.at_once(benchmark_work.sleep, dict(seconds=0.1), 2, seconds=0.5)
    assert 0.049 < times.best < 0.095


def test_memory_of_a_known_allocation_is_seen():
    """And nothing of the process that asks, which uses more."""
    ballast = np.ones(600 << 20, np.uint8)
    used = memory.of_fresh_process(
        benchmark_work.allocate, dict(mebibytes=150, at_build=50), threads=1)
    del ballast
    assert 195 < used.work < 230
    # Python and torch lie there too.
    assert used.work + 20 < used.peak < 600


@pytest.mark.parametrize('module, ask, words', [
    (memory, lambda: memory.of_fresh_process(benchmark_work.sleep, dict(seconds=0), 1),
     'measures the peak memory was killed, probably for want of memory'),
    (parallel, lambda: parallel.at_once(benchmark_work.sleep, dict(seconds=0), 2, 1),
     'one of 2 processes was killed, probably for want of memory')])
def test_processes_that_are_killed_say_so(monkeypatch, module, ask, words):
    """Forked here: starting anew takes seconds."""
    fork = multiprocessing.get_context('fork')
    monkeypatch.setattr(module.multiprocessing, 'get_context', lambda _: fork)
    monkeypatch.setattr(
        module, '_measure' if module is memory else '_repeat', benchmark_work.die)
    with pytest.raises(UserError, match=words):
        ask()


# --- roofline --------------------------------------------------------------------------------

def cost(layer, *shape, train=False):
    torch.manual_seed(0)
    x = torch.randn(shape)
    if train:
        return roofline.count(lambda: layer(x.requires_grad_()).sum().backward())
    return roofline.count(torch.no_grad()(lambda: layer(x)))


def test_flops_of_convolutions():
    for layer, flops in [
        # Cells x kernel x channels in x channels out / groups x 2, for a batch of 2.
        (nn.Conv2d(8, 6, 3, padding=1), 2 * 7 * 9 * 9 * 8 * 6 * 2),
        (nn.Conv2d(8, 6, 3, stride=2, padding=1, groups=2), 2 * 4 * 5 * 9 * 4 * 6 * 2),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), 2 * 7 * 9 * 9 * 8 * 2),
        # A transposed one multiplies every input cell by the whole kernel.
        (nn.ConvTranspose2d(8, 6, 4, 2, 1), 2 * 7 * 9 * 16 * 8 * 6 * 2),
    ]:
        with case(layer, flops):
            assert cost(layer, 2, 8, 7, 9).flops == flops
            # As much again for each of the gradients of input and weights.
            assert cost(layer, 2, 8, 7, 9, train=True).flops == 3 * flops


def test_bytes_are_those_in_and_out():
    layer = nn.Conv2d(8, 6, 3, padding=1, bias=False)
    assert cost(nn.Sequential(layer, nn.ReLU()), 2, 8, 7, 9).bytes == 4 * (
        2 * 8 * 7 * 9 + 6 * 8 * 9 + 2 * 6 * 7 * 9)


def test_flops_of_a_matrix_product():
    a, b = torch.randn(3, 4, 5), torch.randn(5, 7)
    counted = roofline.count(lambda: a @ b)
    assert counted.flops == 2 * 3 * 4 * 5 * 7


def test_flops_of_a_deformable_layer():
    """As the plain convolution of its shape, and the convolution of its offsets."""
    plain, offsets = (2 * 81 * 9 * 8 * channels * 2 for channels in (6, 27))
    counted = roofline.count(networks.dcn('ours', 8, 6, 9, batch=2))
    assert counted.flops == plain + offsets
    maps = 2 * 81 * (8 + 27 + 8 + 27 + 6)
    assert counted.bytes == 4 * (maps + 9 * 8 * (27 + 6) + 27 + 6)
    counted = roofline.count(networks.dcn('ours', 8, 6, 9, batch=2, backward=True))
    assert counted.flops == 3 * (plain + offsets)


def test_flops_of_the_network_are_known():
    """ResNet-18's 3.6 GFLOP at 224 x 224 are 1.8 G multiplications as everyone counts them."""
    model = networks.our_model('R18')
    counted = roofline.count(torch.no_grad()(
        lambda: model.backbone(torch.zeros(1, 3, 224, 224))))
    assert counted.flops / 2 == pytest.approx(1.814e9, rel=0.01)


def test_rates_are_plausible_and_make_times():
    rates = roofline.measure_rates(seconds=0.01, side=256, size=2**22)
    assert all(1e8 < rate < 1e14 for rate in rates.matrix.values())
    assert 1e8 < rates.copy < 1e13
    rates = roofline.Rates(dict(float32=100.0, bfloat16=400.0), 10.0)
    assert roofline.Cost(200, 50).seconds(rates) == (2.0, 5.0)
    assert roofline.Cost(200, 50).seconds(rates, 'bfloat16') == (0.5, 5.0)


# --- rows and reports ------------------------------------------------------------------------

def sleeping(name, milliseconds, **more):
    return Side(name, benchmark_work.sleep, dict(seconds=milliseconds / 1e3), **more)


RATES = roofline.Rates(dict(float32=1e12, bfloat16=4e12), 1e12)


def test_figures_stand_by_the_side_that_they_are_of():
    row = Row('train', 'naps', (sleeping('mmdet', 40), sleeping('ours', 10)), images=2)
    result = measure_row(row, threads=1, repeats=3, seconds=10)
    mmdet, ours = report.row_data(result, RATES)['sides']
    assert (mmdet['name'], ours['name']) == ('mmdet', 'ours')
    assert 0.04 < mmdet['best'] < 0.1 and 0.01 < ours['best'] < 0.035
    assert ours['times_faster_best'] == pytest.approx(mmdet['best'] / ours['best'])
    assert ours['images_per_second'] == pytest.approx(2 / ours['best'])
    assert 'times_faster_best' not in mmdet
    assert len(ours['seconds']) == 3


def test_memory_and_roofline_stand_by_their_side(monkeypatch):
    def count():
        x = torch.randn(100, 100)
        return lambda: x @ x

    monkeypatch.setattr(
        memory, 'of_fresh_process', lambda build, settings, threads: memory.Memory(
            peak=100.0 + settings['mebibytes'], work=settings['mebibytes']))
    row = Row('train', 'memory', tuple(
        Side(name, benchmark_work.allocate, dict(mebibytes=size), dtype)
        for name, size, dtype in (('mmdet', 20, 'float32'), ('ours', 10, 'bfloat16'))),
        memory=True, cost=Side('counted', count))
    data = report.row_data(measure_row(row, 1, 1, 10), RATES)
    mmdet, ours = data['sides']
    assert (mmdet['work_mib'], ours['work_mib'], ours['peak_mib']) == (20, 10, 110)
    assert ours['peak_of_reference'] == 110 / 120 and 'peak_of_reference' not in mmdet
    assert data['flops'] == 2e6 and data['bytes'] == 3 * 4e4
    assert mmdet['seconds_at_matrix_rate'] == 2e-6
    assert ours['seconds_at_matrix_rate'] == 5e-7  # at the rate of its own type
    assert ours['share_of_roofline'] == pytest.approx(5e-7 / ours['best'])


def test_failed_row_is_noted_and_the_others_are_measured():
    row = Row('dcn', 'naps', (
        Side('mmdet', benchmark_work.fail, dict(sentence='no\n such  thing')),
        Side('broken', benchmark_work.fail_to_run, dict(sentence='out of luck')),
        sleeping('ours', 1)), memory=False)
    data = report.row_data(measure_row(row, 1, 2, 1), RATES)
    assert [side['name'] for side in data['sides']] == ['ours']
    assert data['failures'] == [
        'dcn, naps, mmdet: no such thing', 'dcn, naps, broken: out of luck']
    nothing = Row('dcn', 'none', row.sides[:1])
    assert report.row_data(measure_row(nothing, 1, 2, 1), RATES)['sides'] == []


def test_nothing_but_tables_goes_to_stdout(capsys):
    measure_row(Row('train', 'x', (Side('ours', lambda: lambda: print('100%')), )), 1, 1, 1)
    out, err = capsys.readouterr()
    assert out == '' and '100%' in err


def test_threads_are_those_asked_for_and_put_back():
    def build():
        seen.append(torch.get_num_threads())
        return lambda: None

    seen = []
    before = torch.get_num_threads()
    for threads in (0, 2):
        measure_row(Row('train', 'x', (Side('ours', build), ), threads=threads), 1, 1, 1)
    assert seen == [1, 2] and torch.get_num_threads() == before


@pytest.fixture()
def small_rows(monkeypatch):
    """Groups of quick rows in place of the real ones."""
    made = dict(
        encode=lambda: [Row('encode', 'encode, small', rows.pair(heads.encode, **SMALL))],
        dcn=lambda: [Row('dcn', 'broken', (
            Side('mmdet', benchmark_work.fail, dict(sentence='compile it')), ))],
        train=lambda: [Row('train', f'nap {number}', (
            sleeping('mmdet', 40), sleeping('ours', 4)), images=8, cost=Side(
                'forward', networks.forward, dict(model='R18', size=32))) for number in (1, 2)],
        tta=lambda: [Row('tta', 'naps', (sleeping('network', 2), sleeping('all', 20)),
                         reference='network')],
        scaling=lambda threads: [
            Row('scaling', f'size {size}', (sleeping('mmdet', 2), sleeping('ours', 1)),
                table=f'naps by {table}') for table in ('size', 'batch') for size in (1, 2)])
    monkeypatch.setattr(rows, 'GROUPS', made)
    # The rates of the machine have a test of their own.
    monkeypatch.setattr(roofline, 'measure_rates', lambda: RATES)
    return made


def tables_of(text):
    """Heading -> list of dicts by column, of the Markdown tables in a text."""
    found = {}
    for heading, lines in itertools.groupby(
            text.splitlines(), lambda line, seen=['']: seen.__setitem__(0, line) or seen[0]
            if line.startswith('### ') else seen[0]):
        cells = [[cell.strip() for cell in line.strip('|').split('|')]
                 for line in lines if line.startswith('|')]
        if cells:
            assert len({len(line) for line in cells}) == 1, heading
            assert all(set(cell) <= set('-:') for cell in cells[1])
            found[heading.removeprefix('### ')] = [
                dict(zip(cells[0], line)) for line in cells[2:]]
    return found


def test_tables_and_json(tool, small_rows, tmp_path, capsys):
    path = tmp_path / 'figures.json'
    assert tool(TOOL, '--repeats', 3, '--threads', 1, '--json', path) == 0
    out, err = capsys.readouterr()
    assert '1/5 encode: encode, small' in err and '4/5 train: nap 2' in err
    tables = tables_of(out)
    assert list(tables) == ['encode', 'train', 'tta']  # not scaling, and nothing of dcn
    assert [(line['work'], line['side']) for line in tables['train']] == [
        (f'nap {number}', side) for number in (1, 2) for side in ('mmdet', 'ours')]
    ours = tables['train'][1]
    assert 1.5 < float(ours['times faster, best']) < 10.1
    assert float(ours['images/s']) == pytest.approx(8e3 / float(ours['best ms']), rel=0.05)
    assert float(ours['GFLOP']) > 0 and 'share of roofline' in ours
    assert 'peak MiB' not in ours and 'images/s' not in tables['encode'][0]
    assert 0.05 < float(tables['tta'][1]['times faster, best']) < 0.7
    assert 'compile it' in out and 'torch' in out and '1 threads' in out
    assert ('ResNet-18 without it' in out) is not networks.compiled_mmcv()

    data = json.loads(path.read_text())
    assert data['threads'] == 1 and data['versions']['torch'].startswith('2.')
    assert data['machine']['cores'] == os.cpu_count() and data['machine']['processor']
    assert f'--json {path}' in data['command'] and '--repeats 3' in data['command']
    assert data['rates']['matrix_flops'] == RATES.matrix
    assert [row['group'] for row in data['rows']] == ['encode', 'dcn', 'train', 'train', 'tta']
    for row in data['rows']:
        for side in row['sides']:
            assert len(side['seconds']) == 3 and min(side['seconds']) == side['best']
    assert data['rows'][1]['failures'] == ['dcn, broken, mmdet: compile it']
    assert data['rows'][2]['flops'] > 0


def test_rows_are_chosen_by_name(tool, small_rows, capsys):
    assert tool(TOOL, 'scaling', 'encode', '--repeats', 1) == 0
    tables = tables_of(capsys.readouterr().out)
    assert list(tables) == ['encode', 'scaling: naps by size', 'scaling: naps by batch']
    assert [line['work'] for line in tables['scaling: naps by size']][::2] == ['size 1', 'size 2']


def test_rows_measured_before_an_interruption_are_shown(
        tool, small_rows, tmp_path, capsys, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setitem(small_rows, 'train', lambda: [
        Row('train', 'stop', (Side('ours', interrupt), ))])
    path = tmp_path / 'part.json'
    assert tool(TOOL, 'encode', 'train', '--repeats', 1, '--json', path) == 130
    assert list(tables_of(capsys.readouterr().out)) == ['encode']
    assert len(json.loads(path.read_text())['rows']) == 1


@pytest.mark.parametrize('arguments, words', [
    (['--repeats', '0'], '--repeats 0 is below 1'),
    (['--threads', '0'], '--threads 0 is below 1'),
    (['--seconds', '0'], '--seconds 0.0 is not above 0'),
    (['--seconds', 'nan'], '--seconds nan is not above 0'),
    (['encode', 'los'], "there is no row 'los': choose from encode, loss"),
    (['--json', '.'], '--json . is a folder'),
    (['--json', 'no/such/place.json'], 'there is no folder no/such'),
])
def test_bad_arguments_end_in_an_error_message_before_any_work(
        tool, monkeypatch, capsys, arguments, words):
    monkeypatch.setattr(roofline, 'measure_rates', lambda: pytest.fail('it measures'))
    assert tool(TOOL, *arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith('error: ') and words in err and err.count('\n') == 1


def test_a_file_that_may_not_be_written(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(report.tempfile, 'TemporaryFile', refuse)
    with pytest.raises(UserError, match='cannot be written: Permission denied'):
        report.check_writable(tmp_path / 'x.json')
    assert not (tmp_path / 'x.json').exists()


def test_real_rows_are_complete():
    """Every group has rows whose sides can be pickled, with settings that they take."""
    import inspect
    import pickle
    titles = set()
    for row in rows.rows_of(list(rows.GROUPS), threads=2):
        assert row.reference in {side.name for side in row.sides}
        for side in (*row.sides, *([row.cost] if row.cost else [])):
            pickle.dumps((side.build, side.settings))
            inspect.signature(side.build).bind(**side.settings)
        key = row.group, row.table, row.title
        assert key not in titles
        titles.add(key)
    assert {group for group, _, _ in titles} == set(rows.GROUPS)
    assert 'scaling' not in {row.group for row in rows.rows_of([], threads=2)}


def test_ratios_of_every_size_are_readable():
    assert [report._number(value) for value in (123.45, 12.34, 1.234, 0.1234, 0.01234)] == [
        '123.5', '12.3', '1.23', '0.12', '0.0123']
