"""mmcv._ext: the stand-in where nothing is compiled, the compiled one where there is one."""
import copy
import importlib.machinery
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmdet_centernet.compat import mmcv_ext
from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.mmcv_ops import OPERATIONS

STAND_IN = mmcv_ext._make_stand_in(OPERATIONS)


def run_python(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


def test_mmdet_can_be_imported_even_after_it_failed_once():
    done = run_python(
        'try:\n    import mmdet.apis\nexcept ImportError:\n    pass\n'
        'import mmdet_centernet\n'
        'import mmdet.apis, mmdet.datasets, mmdet.models\n')
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_no_model():
    done = run_python(
        'import sys, mmdet_centernet\n'
        'print([name for name in ("mmdet", "mmdet.models", "mmcv.ops", "mmdet_centernet.models")'
        ' if name in sys.modules])\n'
        'import warnings; warnings.simplefilter("ignore")\n'
        'from mmengine.utils.dl_utils.misc import mmcv_full_available\n'
        'real = hasattr(sys.modules["mmcv._ext"], "__file__")\n'
        'sys.exit(mmcv_full_available() != real)')
    assert done.stdout.strip() == '[]', done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_stand_in_has_any_operation_and_tells_how_to_install_it():
    # The way mmcv looks: by hasattr, when a module of mmcv.ops is imported.
    assert hasattr(STAND_IN, 'roi_align_forward')
    with pytest.raises(UserError) as caught:
        STAND_IN.roi_align_forward(torch.rand(1), aligned=True)
    sentence = str(caught.value)
    assert "'roi_align_forward'" in sentence
    assert '--no-build-isolation --no-binary mmcv mmcv==2.1.0' in sentence
    assert '\n' not in sentence


def test_introspection_finds_a_module():
    for name in ('__file__', '__path__', '__wrapped__', '_private'):
        assert not hasattr(STAND_IN, name)
    assert STAND_IN.__spec__.name == 'mmcv._ext'
    assert inspect.ismodule(STAND_IN)
    assert inspect.getdoc(STAND_IN)
    assert repr(STAND_IN)


def test_mmcv_functions_on_the_installed_module():
    from mmcv.ops import batched_nms, bbox_overlaps, nms, soft_nms
    from mmcv.ops.info import get_compiler_version, get_compiling_cuda_version
    boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 9.], [20., 20., 30., 30.]])
    scores = torch.tensor([0.5, 0.75, 0.25])
    dets, kept = nms(boxes, scores, 0.5)
    assert kept.tolist() == [1, 2]
    assert torch.equal(dets, torch.cat((boxes, scores[:, None]), 1)[kept])
    assert nms(boxes.numpy(), scores.numpy(), 0.5, score_threshold=0.3)[1].tolist() == [1]
    dets, kept = soft_nms(boxes, scores, 0.5, method='linear')
    assert kept.tolist() == [1, 2, 0]
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.75, 0.25, 0.05]))
    torch.testing.assert_close(
        bbox_overlaps(boxes, boxes[:1], mode='iof'), torch.tensor([[1.], [1.], [0.]]))
    assert bbox_overlaps(boxes, boxes, aligned=True).tolist() == [1., 1., 1.]
    _, kept = batched_nms(
        boxes, scores, torch.tensor([0, 1, 1]), dict(type='nms', iou_threshold=0.5))
    assert kept.tolist() == [1, 0, 2]
    assert isinstance(get_compiler_version(), str)
    assert isinstance(get_compiling_cuda_version(), str)


def test_a_compiled_module_is_left_alone():
    """What is installed is either an extension file or the stand-in, and never both."""
    compiled = mmcv_ext._find_compiled()
    module = sys.modules['mmcv._ext']
    if compiled is None:
        assert isinstance(module, mmcv_ext._StandIn)
    else:
        assert module.__file__ == compiled.origin
    assert mmcv_ext.ensure_mmcv_ext(OPERATIONS) is module


def test_a_compiled_module_that_does_not_load_is_not_replaced(tmp_path, monkeypatch):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    Path(tmp_path, '_ext' + suffix).write_bytes(b'built against another torch')
    import mmcv
    spec = importlib.machinery.ModuleSpec('mmcv', None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(mmcv_ext, 'find_spec', lambda name: spec)
    monkeypatch.setattr(mmcv, '__path__', [str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    with pytest.raises(ImportError) as caught:
        mmcv_ext.ensure_mmcv_ext(OPERATIONS)
    sentence = str(caught.value)
    assert str(tmp_path) in sentence
    assert torch.__version__ in sentence
    assert 'pip install' in sentence
    assert '\n' not in sentence
    assert 'mmcv._ext' not in sys.modules


def test_without_mmcv_at_all_nothing_is_found(monkeypatch):
    monkeypatch.setattr(mmcv_ext, 'find_spec', lambda name: None)
    assert mmcv_ext._find_compiled() is None


def test_user_errors_survive_pickling():
    error = UserError('the file is broken: fetch it again')
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(copied) is UserError
        assert str(copied) == str(error)
