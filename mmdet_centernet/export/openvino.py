"""OpenVINO models of detectors."""
from pathlib import Path

import onnx
import openvino

from mmdet_centernet.runtime.metadata import KEY


def write(model: onnx.ModelProto, place: Path, text: str) -> None:
    """Convert an ONNX model and write it.

    Args:
        model (onnx.ModelProto): of the detector.
        place (Path): ``*.xml``; the weights are written next to it, ``*.bin``.
        text (str): metadata.
    """
    # OpenVINO reads a file without copying its weights.
    source = place.with_suffix('.onnx')
    source.write_bytes(model.SerializeToString())
    # `convert_model` does the same, and reports to the vendor that it was used.
    converted = openvino.Core().read_model(str(source))
    converted.set_rt_info(text, [KEY])
    # By default, weights would be saved in 16 bits.
    openvino.save_model(converted, str(place), compress_to_fp16=False)
    source.unlink()
