"""OpenVINO models of detectors."""
import openvino

from mmdet_centernet.runtime.metadata import KEY


def write(model, place, text):
    """Convert an ONNX model.

    Args:
        model (onnx.ModelProto): Of the detector.
        place (Path): ``*.xml``; the weights go beside it, ``*.bin``.
        text (str): Metadata.
    """
    # Through a file: it is read without a copy of its weights in between.
    source = place.with_suffix('.onnx')
    source.write_bytes(model.SerializeToString())
    # `convert_model` does the same and reports that it was used.
    converted = openvino.Core().read_model(str(source))
    converted.set_rt_info(text, [KEY])
    # Half the weights' bits would be saved by default.
    openvino.save_model(converted, str(place), compress_to_fp16=False)
    source.unlink()
