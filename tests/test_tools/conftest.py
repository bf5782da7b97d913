"""The tools as callables, and a tiny data set and training to try them on."""
import pytest
import tiny_project
from mmengine.logging import MMLogger

from mmdet_centernet import cli


@pytest.fixture(scope='session')
def tool():
    """``tool('train.py', *arguments)`` runs a tool in this process: its exit status."""
    loaded = {}

    def call(name, *arguments):
        if name not in loaded:
            loaded[name] = tiny_project.load_tool(name)
        # Loggers are named by the second: one of the last test would write to its closed console.
        MMLogger._instance_dict.clear()
        return cli.run(loaded[name].main, [str(a) for a in arguments])

    return call


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory):
    """Folder of six small images with squares and discs."""
    return tiny_project.write_data(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='session')
def trained(tool, tiny_data, tmp_path_factory):
    """A config and the work_dir of its finished training."""
    folder = tmp_path_factory.mktemp('trained')
    config = tiny_project.write_config(folder, tiny_data, 'trained.py')
    assert tool('train.py', config, '--work-dir', folder / 'work', '--seed', 3) == 0
    return config, folder / 'work'
