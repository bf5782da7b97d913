"""Graphs in the form of exported models, whose detections depend on the input in known ways."""
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mmdet_centernet.runtime.metadata import FORMAT

BOXES = np.array([[8, 4, 24, 20], [30, 10, 50, 26], [9, 5, 25, 21]], np.float32)
SCORES = np.array([1, 0.5, 0.25], np.float32)
LABELS = np.array([1, 0, 1], np.int64)
#: Keypoints of every box of a pose model; what does not depend on the camera of a 3D model.
KEYPOINTS = np.stack((BOXES[:, :2], BOXES[:, 2:]), axis=1)
KEYPOINT_SCORES = np.array([[0.9, 0.2]] * 3, np.float32)
DEPTH = np.array([10, 20, 30], np.float32)
ALPHA = np.array([0.1, -0.2, 3], np.float32)

PLAIN = ('bboxes', 'scores', 'labels')
OUTPUTS = dict(
    detection=PLAIN, pose=(*PLAIN, 'keypoints', 'keypoint_scores'),
    mono3d=(*PLAIN, 'bboxes_3d', 'alpha', 'depth'))


def metadata(task='detection', kind='uint8', **changes):
    """Return the metadata of such a model: any size and batch, images padded to 32 px."""
    dataset, properties = {}, [dict(type='Box')]
    if task == 'pose':
        properties.append(dict(type='Keypoints', points=['keypoints'], num_keypoints=2))
        dataset = dict(num_keypoints=2, keypoint_id2name={0: 'top', 1: 'bottom'},
                       skeleton_links=[[0, 1]], flip_pairs=[],
                       keypoint_colors=[[255, 0, 0], [0, 255, 0]],
                       skeleton_link_colors=[[255, 0, 255]])
    elif task == 'mono3d':
        properties.append(dict(type='Boxes3D'))
    return {**dict(
        format=FORMAT, version='0', task=task, config='probe', classes=['square', 'disc'],
        palette=[[250, 10, 20], [0, 130, 240]], stride=4, divisor=32,
        input=dict(kind=kind, mean=[10., 20., 30.], std=[50., 60., 70.], to_rgb=True),
        dataset=dataset, properties=properties, batch=None, shape=None,
        inputs=['image', 'cam2img'] if task == 'mono3d' else ['image'],
        transform=dict(type='CenterPad', pad_mask=31, pad_value=[0, 0, 0], scale=1.0),
        test_cfg=dict(max_per_img=100, score_thr=0, clip_boxes=False, nms=None),
        flip=False, raw=False, outputs=list(OUTPUTS[task]), dcn=None, opset=17,
        precision='float32'), **changes}


def write(path, task='detection', kind='uint8', text=None, **changes):
    """Write ``path``: scores are ``SCORES`` times the mean of an image's input over 255 (of a
    'float' model as it is plus 2), bottoms in space are at the camera's first row.

    Args:
        path (Path): ``*.onnx``, or ``*.xml`` as OpenVINO's.
        task, kind: Of :func:`metadata`.
        text (str, optional): Instead of the metadata; ``''`` for none.
        **changes: Of the metadata.

    Returns:
        Path
    """
    fields = metadata(task, kind, **changes)
    batch, (height, width) = fields['batch'] or 'batch', fields['shape'] or ('height', 'width')
    float32 = TensorProto.FLOAT
    if kind == 'uint8':
        image = helper.make_tensor_value_info(
            'image', TensorProto.UINT8, [batch, height, width, 3])
    else:
        image = helper.make_tensor_value_info('image', float32, [batch, 3, height, width])
    nodes = [
        helper.make_node('Cast', ['image'], ['pixels'], to=float32),
        helper.make_node('ReduceMean', ['pixels'], ['mean'], axes=[1, 2, 3]),
        helper.make_node('Mul', ['mean', 'zero'], ['nothing']),  # [B, 1, 1, 1]
        helper.make_node('Mul', ['mean', 'scale'], ['scaled']),
        helper.make_node('Add', ['scaled', 'shift'], ['level']),
        helper.make_node('Reshape', ['level', 'column'], ['level_column']),
        helper.make_node('Mul', ['level_column', 'SCORES'], ['scores']),
        helper.make_node('Reshape', ['nothing', 'column'], ['none_column']),
        helper.make_node('Reshape', ['nothing', 'box'], ['none_box']),
        helper.make_node('Add', ['none_box', 'BOXES'], ['bboxes']),
        helper.make_node('Add', ['none_column', 'LABELS'], ['float_labels']),
        helper.make_node('Cast', ['float_labels'], ['labels'], to=TensorProto.INT64),
    ]
    constants = dict(
        zero=np.float32(0), scale=np.float32(1 / 255 if kind == 'uint8' else 1),
        shift=np.float32(0 if kind == 'uint8' else 2), column=np.array([-1, 1]),
        box=np.array([-1, 1, 1]), BOXES=BOXES[None], SCORES=SCORES[None],
        LABELS=LABELS[None].astype(np.float32))
    inputs, shapes = [image], dict(bboxes=[3, 4], scores=[3], labels=[3])
    if task == 'pose':
        nodes += [helper.make_node('Add', ['nothing', 'KEYPOINTS'], ['keypoints']),
                  helper.make_node('Add', ['none_box', 'KEYPOINT_SCORES'], ['keypoint_scores'])]
        constants.update(KEYPOINTS=KEYPOINTS[None], KEYPOINT_SCORES=KEYPOINT_SCORES[None])
        shapes.update(keypoints=[3, 2, 2], keypoint_scores=[3, 2])
    elif task == 'mono3d':
        inputs.append(helper.make_tensor_value_info('cam2img', float32, [batch, 3, 4]))
        nodes += [helper.make_node('Gather', ['cam2img', 'first'], ['row'], axis=1),  # [B, 1, 4]
                  helper.make_node('Mul', ['row', 'ones'], ['rows']),  # [B, 3, 4]
                  helper.make_node('Add', ['none_box', 'REST'], ['rest']),
                  helper.make_node('Concat', ['rows', 'rest'], ['bboxes_3d'], axis=2),
                  helper.make_node('Add', ['none_column', 'ALPHA'], ['alpha']),
                  helper.make_node('Add', ['none_column', 'DEPTH'], ['depth'])]
        constants.update(first=np.array([0]), ones=np.ones((1, 3, 1), np.float32),
                         REST=np.ones((1, 3, 3), np.float32), ALPHA=ALPHA[None],
                         DEPTH=DEPTH[None])
        shapes.update(bboxes_3d=[3, 7], alpha=[3], depth=[3])
    outputs = [helper.make_tensor_value_info(
        name, TensorProto.INT64 if name == 'labels' else float32, [batch, *shapes[name]])
        for name in OUTPUTS[task]]
    graph = helper.make_graph(
        nodes, 'probe', inputs, outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    text = json.dumps(fields) if text is None else text
    if text:
        helper.set_model_props(model, dict(mmdet_centernet=text))
    onnx.checker.check_model(model)
    onnx.save(model, path.with_suffix('.onnx'))
    if path.suffix == '.xml':
        import openvino
        converted = openvino.Core().read_model(str(path.with_suffix('.onnx')))
        if text:
            converted.set_rt_info(text, 'mmdet_centernet')
        openvino.save_model(converted, str(path), compress_to_fp16=False)
    return path
