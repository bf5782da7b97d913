"""What tools/test.py and tools/demo_pictures.py draw for a 3D model."""
import os
import pickle

import cv2
import mono3d_project
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from mono3d_project import HEIGHT, WIDTH, camera

from mmdet_centernet.visualization.panels import MISSED, WRONG

ZOOM = 4  # by which small images are enlarged


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """Config and weights of a model that finds one car in each image."""
    folder = tmp_path_factory.mktemp('mono3d')
    config = mono3d_project.write_config(
        folder, mono3d_project.write_data(folder),
        extra="model['test_cfg'].update(topk=1, max_per_img=1)\n")
    torch.save(dict(state_dict=mono3d_project.weights_of(config)), folder / 'weights.pth')
    return config, folder / 'weights.pth'


def front_edge(box, matrix):
    """Where the middle of the front's lower edge is in the image."""
    x, y, z, _, _, length, turn = box
    u, v, w = matrix @ (x + length / 2 * np.cos(turn), y, z - length / 2 * np.sin(turn), 1)
    return u / w, v / w


def is_green(picture, place):
    x, y = map(round, place)
    around = picture[y - 3:y + 4, x - 3:x + 4].reshape(-1, 3).astype(int)
    return (around[:, 1] - around[:, [0, 2]].max(axis=1)).max() > 100


def test_pictures_of_tests(tool, project, tmp_path):
    """Truth above predictions with each image's own camera, and both from above."""
    config, weights = project
    assert tool('test.py', config, weights, '--work-dir', tmp_path / 'work', '--out',
                tmp_path / 'out.pkl', '--show-dir', tmp_path / 'shown') == 0
    # As written by this very test: plain tensors in dictionaries.
    predictions = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert len(predictions) == 3
    truth = (0.1, 1.6, 11, 1.5, 1.6, 3.9, 0.51)
    for index, prediction in enumerate(predictions):
        name = os.path.basename(prediction['img_path'])
        picture = cv2.imread(str(tmp_path / 'shown' / name))
        height = 2 * ZOOM * HEIGHT
        assert picture.shape == (height, ZOOM * WIDTH + 0.8 * height, 3)
        found = prediction['pred_instances']['bboxes_3d'][0].tolist()
        for row, box in enumerate((truth, found)):
            u, v = front_edge(box, camera(index))
            assert 0 < u < WIDTH and 0 < v < HEIGHT
            assert is_green(picture, (ZOOM * u, ZOOM * (v + row * HEIGHT)))


def count_near(picture, color):
    return (np.abs(picture[..., ::-1].astype(int) - np.array(to_rgb(color)) * 255).max(
        axis=-1) < 12).sum()


def test_demo_pictures(tool, project, tmp_path):
    """Panels as high as three photos, with the view from above beside them."""
    config, weights = project
    for threshold, is_found in ((0.5, True), (0.95, False)):
        folder = tmp_path / f'{threshold}'
        assert tool('demo_pictures.py', config, weights, '--out-dir', folder, '--count', 2,
                    '--score-thr', threshold) == 0
        pictures = [cv2.imread(str(path)) for path in sorted(folder.glob('*.png'))]
        assert len(pictures) == 2
        for picture in pictures:
            assert 1 < picture.shape[1] / picture.shape[0] < 2
            # The model sees a car where there is none.
            rows, half = picture.shape[0] // 3, picture.shape[1] // 2
            assert count_near(picture[:rows, :half], MISSED) > 20
            above = picture[:2 * rows, half:]  # without its legend
            assert count_near(above, MISSED) > 100
            assert (count_near(above, WRONG) > 100) == is_found
