"""tools/test.py and tools/demo_pictures.py, called as their command lines call them."""
import os
import pickle
import shutil

import cv2
import numpy as np
import pose_project
import pytest
import torch
from tiny_project import HEIGHT, WIDTH, load_tool, write_config, write_data

from mmdet_centernet.checkpoints.read import read_checkpoint


def last_error(capsys):
    """The sentence that a tool printed."""
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    return error


def test_predictions_pictures_and_metrics(tool, trained, tmp_path, capsys):
    config, work = trained
    two = tmp_path / 'two_metrics.py'
    two.write_text(config.read_text() + (
        "test_evaluator = [val_evaluator, dict(type='mmdet.VOCMetric', metric='mAP', "
        "eval_mode='11points')]\n"))
    assert tool('test.py', two, work / 'epoch_2.pth', '--work-dir', tmp_path / 'work', '--out',
                tmp_path / 'out.pkl', '--show-dir', tmp_path / 'shown') == 0
    text = capsys.readouterr().out
    assert 'coco/bbox_mAP' in text and 'pascal_voc/mAP' in text
    # As written by this very test: plain tensors in dictionaries.
    predictions = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert len(predictions) == 6
    assert {'bboxes', 'scores', 'labels'} <= predictions[0]['pred_instances'].keys()
    pictures = sorted((tmp_path / 'shown').glob('*.png'))
    assert len(pictures) == 6
    assert cv2.imread(str(pictures[0])).shape[1] >= 2 * WIDTH  # truth beside predictions


@pytest.mark.parametrize('options', [
    ('--tta', 'flip'), ('--resolution', 'fix', '--tta', 'ms')], ids=str)
def test_resolution_and_test_time_augmentation(tool, trained, tmp_path, capsys, options):
    config, work = trained
    results = []
    for name, more in (('plain', ()), ('asked', options)):
        assert tool('test.py', config, work / 'epoch_2.pth', '--work-dir', tmp_path / name,
                    '--out', tmp_path / f'{name}.pkl', '--show-dir', tmp_path / f'{name}_shown',
                    *more) == 0
        assert 'coco/bbox_mAP' in capsys.readouterr().out
        assert len(list((tmp_path / f'{name}_shown').glob('*.png'))) == 6
        # As written by this very test: plain tensors in dictionaries.
        results.append(pickle.loads((tmp_path / f'{name}.pkl').read_bytes()))
    assert [each['img_id'] for each in results[0]] == [each['img_id'] for each in results[1]]
    for plain, asked in zip(*results, strict=True):
        plain, asked = (each['pred_instances']['scores'] for each in (plain, asked))
        assert len(asked) == len(plain) == 20
        assert not torch.equal(asked, plain)


@pytest.mark.parametrize('arguments, tta', [
    (['CONFIG.py', 'FILE.pth'], None), (['CONFIG.py', 'FILE.pth', '--tta'], 'config'),
    (['CONFIG.py', '--tta', 'FILE.pth'], 'config'), (['--tta', 'CONFIG.py', 'FILE.pth'], 'config'),
    (['CONFIG.py', 'FILE.pth', '--tta', '--optimize'], 'config'),
    (['CONFIG.py', 'FILE.pth', '--tta', 'flip'], 'flip'),
    (['--tta', 'ms', 'CONFIG.py', 'work_dirs/file'], 'ms'),
    (['--tta=ms', 'CONFIG.py', 'FILE.pth'], 'ms')], ids=str)
def test_tta_is_a_flag_or_has_a_value(arguments, tta):
    args = load_tool('test.py').parse_args(arguments)
    assert args.tta == tta
    assert args.config == 'CONFIG.py' and args.checkpoint in ('FILE.pth', 'work_dirs/file')


def test_an_unknown_tta_is_refused(capsys):
    with pytest.raises(SystemExit):
        load_tool('test.py').parse_args(['CONFIG.py', 'FILE.pth', '--tta', 'flop'])
    assert "invalid choice: 'flop'" in capsys.readouterr().err


def test_a_config_without_a_tta_pipeline_says_so(tool, trained, tmp_path, capsys):
    config, work = trained
    assert tool('test.py', config, work / 'epoch_2.pth', '--tta', '--work-dir',
                tmp_path / 'work') == 1
    assert 'has no tta_pipeline: add one' in last_error(capsys)
    assert not (tmp_path / 'work').exists()


def test_test_time_augmentation_checks_the_checkpoint_and_the_classes(
        tool, trained, tmp_path, capsys):
    config, work = trained
    weights = torch.load(work / 'epoch_2.pth', weights_only=True)['state_dict']
    weights.pop('backbone.conv1.weight')
    torch.save(dict(state_dict=weights), tmp_path / 'nearly.pth')
    assert tool('test.py', config, tmp_path / 'nearly.pth', '--tta', 'flip', '--work-dir',
                tmp_path / 'work') == 1
    assert '1 missing (backbone.conv1.weight)' in last_error(capsys)
    data = write_data(tmp_path, 2, classes=('square', 'disc', 'star'))
    three = write_config(tmp_path, data, 'three_tta.py', classes=('square', 'disc', 'star'),
                         num_classes=2)
    assert tool('test.py', three, work / 'epoch_2.pth', '--tta', 'flip', '--work-dir',
                tmp_path / 'work') == 1
    assert 'has 3 classes' in last_error(capsys)


def test_options_that_cannot_be_combined_are_refused_before_writing(
        tool, trained, tmp_path, capsys):
    config, work = trained
    for extra, tta, words in (
            ("model['bbox_head']['type'] = 'mmdet.CenterNetHead'\n", 'flip',
             'has mmdet.CenterNetHead: test it without'),
            ("tta_pipeline = [dict(type='mmdet_centernet.LoadImage')]\n", 'config',
             'has no tta_pipeline that ends in TestTimeAug'),
            ("test_dataloader['dataset']['pipeline'].pop(1)\n", 'ms', 'needs a test pipeline')):
        other = tmp_path / 'cannot.py'
        other.write_text(config.read_text() + extra)
        assert tool('test.py', other, work / 'epoch_2.pth', '--tta', tta, '--work-dir',
                    tmp_path / 'work') == 1
        assert words in last_error(capsys)
        assert not (tmp_path / 'work').exists()


def test_out_must_be_a_pickle(tool, trained, capsys):
    config, work = trained
    assert tool('test.py', config, work / 'epoch_2.pth', '--out', 'result.json') == 1
    assert '*.pkl' in last_error(capsys)


def test_missing_checkpoint_names_those_there(tool, trained, capsys):
    config, work = trained
    assert tool('test.py', config, work / 'epoch_7.pth') == 1
    error = last_error(capsys)
    assert 'epoch_7.pth does not exist' in error and 'epoch_2.pth' in error


def test_truncated_checkpoint(tool, trained, tmp_path, capsys):
    config, work = trained
    whole = (work / 'epoch_2.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(whole[:len(whole) // 2])
    assert tool('test.py', config, tmp_path / 'cut.pth') == 1
    assert 'cut.pth is truncated' in last_error(capsys)


class _Malicious:
    def __reduce__(self):
        return eval, ("open('harmed', 'w')", )


@pytest.mark.parametrize('content, expected', [
    (b'', 'is empty'),
    (b'<html>not found</html>', 'not a PyTorch checkpoint'),
    ({'meta': {}}, 'holds no weights'),
    ([1, 2], 'holds a list'),
    (_Malicious(), 'not plain data'),
])
def test_file_that_is_no_checkpoint(tool, trained, tmp_path, capsys, monkeypatch, content,
                                    expected):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'strange.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    config, _ = trained
    assert tool('test.py', config, path, '--work-dir', tmp_path / 'work') == 1
    error = last_error(capsys)
    assert 'strange.pth' in error and expected in error
    assert not (tmp_path / 'harmed').exists()


def test_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match='is a folder'):
        read_checkpoint(tmp_path)


def test_checkpoint_of_another_model(tool, trained, tmp_path, capsys):
    config, work = trained
    other = tmp_path / 'other_model.py'
    other.write_text(config.read_text().replace('base_channels=8', 'base_channels=16').replace(
        'in_channels=16', 'in_channels=32'))
    assert tool('test.py', other, work / 'epoch_2.pth', '--work-dir', tmp_path / 'work') == 1
    error = last_error(capsys)
    assert 'does not fit the model' in error
    assert 'backbone.conv1.weight (8, 3, 7, 7) in the file, (16, 3, 7, 7) in the model' in error


@pytest.mark.parametrize('change, expected', [
    (lambda weights: weights.pop('backbone.conv1.weight'),
     '1 missing (backbone.conv1.weight)'),
    (lambda weights: weights.update(extra=torch.zeros(1)), '1 unknown to the model (extra)'),
])
def test_one_tensor_is_enough_to_stop(tool, trained, tmp_path, capsys, change, expected):
    config, work = trained
    weights = torch.load(work / 'epoch_2.pth', weights_only=True)['state_dict']
    change(weights)
    torch.save(dict(state_dict=weights), tmp_path / 'nearly.pth')
    assert tool('test.py', config, tmp_path / 'nearly.pth', '--work-dir',
                tmp_path / 'work') == 1
    assert expected in last_error(capsys)


def test_bare_weights_and_parallel_prefix_are_read(tool, trained, tmp_path):
    config, work = trained
    weights = torch.load(work / 'epoch_2.pth', weights_only=True)['state_dict']
    bare = tmp_path / 'bare.py'
    bare.write_text(config.read_text())
    torch.save({f'module.{k}': v for k, v in weights.items()}, tmp_path / 'bare.pth')
    assert tool('test.py', bare, tmp_path / 'bare.pth', '--work-dir', tmp_path / 'work') == 0


def test_number_of_classes_of_the_test_data(tool, trained, tmp_path, capsys):
    config, work = trained
    data = write_data(tmp_path, 2, classes=('square', 'disc', 'star'))
    three = write_config(tmp_path, data, 'three.py', classes=('square', 'disc', 'star'),
                         num_classes=2)
    assert tool('test.py', three, work / 'epoch_2.pth', '--work-dir', tmp_path / 'work') == 1
    error = last_error(capsys)
    assert 'has 3 classes' in error and 'predicts 2' in error


def test_demo_pictures(tool, trained, tmp_path, capsys):
    config, work = trained
    assert tool('demo_pictures.py', config, work / 'epoch_2.pth', '--out-dir',
                tmp_path / 'pictures', '--count', 2, '--score-thr', 0.05,
                '--format', 'jpg') == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert str(tmp_path / 'pictures') in lines[-1]
    pictures = sorted((tmp_path / 'pictures').glob('*.jpg'))
    assert len(pictures) == 2
    picture = cv2.imread(str(pictures[0]))
    height, width = picture.shape[:2]
    assert width / height == pytest.approx(3 * WIDTH / HEIGHT, rel=0.4)
    assert np.unique(picture.reshape(-1, 3), axis=0).shape[0] > 100


def test_demo_pictures_without_the_split(tool, trained, tmp_path, capsys):
    config, work = trained
    bare = tmp_path / 'no_val.py'
    bare.write_text(config.read_text() + 'val_dataloader = None\n')
    assert tool('demo_pictures.py', bare, work / 'epoch_2.pth', '--out-dir', tmp_path) == 1
    assert 'val_dataloader' in last_error(capsys)


def test_an_address_is_fetched_and_read_as_data(tool, trained, tmp_path, capsys, monkeypatch):
    """MMEngine would unpickle the file with all that it may do."""
    config, work = trained
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    torch.save(dict(state_dict={}, meta=Evil()), tmp_path / 'evil.pth')
    served = {'https://x.org/evil.pth': tmp_path / 'evil.pth',
              'https://x.org/good.pth': work / 'epoch_2.pth'}
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file',
        lambda address, path, hash_prefix: shutil.copy(served[address], path))
    assert tool('test.py', config, 'https://x.org/evil.pth', '--work-dir', tmp_path / 'w') == 1
    error = capsys.readouterr().err
    assert error.startswith('error: checkpoint ') and 'not plain data' in error
    assert not (tmp_path / 'ran').exists()
    assert tool('test.py', config, 'https://x.org/good.pth', '--work-dir', tmp_path / 'w') == 0


@pytest.fixture(scope='module')
def pose(tmp_path_factory):
    """A config of a pose model, and weights that find one figure in the same place of an image."""
    folder = tmp_path_factory.mktemp('pose')
    config = pose_project.write_config(
        folder, pose_project.write_data(folder),
        extra="model['test_cfg'].update(topk=1, max_per_img=1, output_heatmaps=True)\n")
    torch.save(dict(state_dict=pose_project.weights_of(config)), folder / 'weights.pth')
    return config, folder / 'weights.pth'


def has_color(picture, place, color):
    """Whether RGB ``color`` is within two pixels of a place, which may be cut off."""
    x, y = map(int, place)
    around = picture[max(y - 2, 0):y + 3, max(x - 2, 0):x + 3, ::-1].astype(int)
    return np.abs(around - color).max(-1).min() < 90


def test_pictures_of_poses(tool, pose, tmp_path):
    """Truth, predictions and heat maps beside each other, drawn by the config's visualizer."""
    config, weights = pose
    assert tool('test.py', config, weights, '--work-dir', tmp_path / 'work', '--out',
                tmp_path / 'out.pkl', '--show-dir', tmp_path / 'shown') == 0
    # As written by this very test: plain tensors in dictionaries.
    for prediction in pickle.loads((tmp_path / 'out.pkl').read_bytes()):
        name = os.path.basename(prediction['img_path'])
        picture = cv2.imread(str(tmp_path / 'shown' / name))
        assert picture.shape == (HEIGHT, 3 * WIDTH, 3)
        keypoints = prediction['pred_instances']['keypoints'][0].numpy() + (WIDTH, 0)
        for keypoint, color in zip(keypoints, pose_project.COLORS):
            assert has_color(picture, keypoint, color)
        assert has_color(picture, keypoints[:2].mean(0), pose_project.LINK_COLOR)


def test_demo_pictures_of_poses(tool, pose, tmp_path, capsys):
    config, weights = pose
    assert tool('demo_pictures.py', config, weights, '--out-dir', tmp_path / 'pictures',
                '--count', 1, '--kpt-thr', 0.5) == 0
    path, = (tmp_path / 'pictures').glob('*.png')
    picture = cv2.imread(str(path))
    found = [(np.abs(picture[..., ::-1].astype(int) - color).max(-1) < 12)
             for color in pose_project.COLORS]
    third = picture.shape[1] // 3
    # Keypoints of truth, the last of which is hidden and a ring, and of the prediction.
    assert all(mask[:, :third].sum() > 10 for mask in found[:3])
    assert all(mask[:, third:2 * third].sum() > 20 for mask in found)
    assert tool('demo_pictures.py', config, weights, '--out-dir', tmp_path / 'none',
                '--count', 1, '--kpt-thr', 0.95) == 0
    picture = cv2.imread(str(next((tmp_path / 'none').glob('*.png'))))
    assert not (np.abs(picture[:, third:2 * third, ::-1].astype(int)
                       - pose_project.LINK_COLOR).max(-1) < 12).any()
    wrong = config.with_name('five.py')
    wrong.write_text(config.read_text().replace('num_keypoints = 4', 'num_keypoints = 5'))
    torch.save(dict(state_dict=pose_project.weights_of(wrong)), tmp_path / 'five.pth')
    capsys.readouterr()
    assert tool('demo_pictures.py', wrong, tmp_path / 'five.pth', '--out-dir', tmp_path) == 1
    error = last_error(capsys)
    assert 'val_dataloader, by ' in error and 'has 4 keypoints, but' in error
