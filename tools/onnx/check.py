"""Runs the ONNX files that fuseprop writes in onnxruntime, and compares their outputs with fuseprop's.

FUSEPROP_ONNX_OUT=$PWD/target/onnx cargo test --features onnx --test it onnx::
python tools/onnx/check.py target/onnx

Needs onnx, onnxruntime, numpy and safetensors. Fails unless onnx.checker takes every file and all outputs are within
1e-6 of each other, in doubles within 1e-12, for a largest output of 1 at least.
"""

import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file

BOUNDS = {numpy.dtype(numpy.float32): 1e-6, numpy.dtype(numpy.float64): 1e-12}
files, worst, not_run = 0, dict.fromkeys(BOUNDS, 0.0), []
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 17 and model.producer_name == "fuseprop", path
    dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
        # The error function of doubles.
        assert dtype == numpy.float64 and "Erf" in str(error), (path, error)
        not_run.append(path.stem)
        continue
    case = load_file(path.with_suffix(".safetensors"))
    outputs = session.run(None, {"input": case["x"].astype(dtype)})
    y = numpy.concatenate(outputs, axis=1)
    apart = numpy.abs(y - case["y"]).max() / max(1.0, numpy.abs(case["y"]).max())
    assert apart <= BOUNDS[dtype], (path, apart)
    files, worst[dtype] = files + 1, max(worst[dtype], apart)
print(f"{files} files agree, at most", ", ".join(f"{apart:.2g} in {dtype}" for dtype, apart in worst.items()))
print("not run, for onnxruntime has no Erf of doubles:", ", ".join(not_run) or "none")
assert files >= 40
