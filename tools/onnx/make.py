"""Makes ONNX files with the exporters that people use, and by hand, and runs each in onnxruntime.

python tools/onnx/make.py tests/fixtures/onnx

Needs torch, onnx, onnxruntime, onnxscript, skl2onnx, scikit-learn and safetensors. Writes NAME.onnx, and for all of
them expected.safetensors with NAME.x and NAME.y, the outputs of onnxruntime side by side; refused_NAME.onnx, which no
network is, and refused.txt with what their errors name.
"""

import sys
import warnings
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from torch import nn

warnings.filterwarnings("ignore")
FOLDER = Path(sys.argv[1])
ROWS = 5
expected, refused = {}, []


def run(name, x):
    """Checks a file, and notes what onnxruntime computes with it."""
    path = FOLDER / f"{name}.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: x})
    y = numpy.concatenate([output.reshape(len(x), -1) for output in outputs], axis=1)
    assert name not in expected and numpy.isfinite(y).all(), name
    expected[f"{name}.x"] = numpy.ascontiguousarray(x.reshape(len(x), -1))
    expected[f"{name}.y"] = numpy.ascontiguousarray(y)


# PyTorch ----------------------------------------------------------------------------------------------------------


def features(seed, *shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def export(name, model, x=None, dynamo=False, opset=None):
    """By either exporter of PyTorch, with an open batch."""
    x = features(1, ROWS, 6) if x is None else x
    model = model.to(x.dtype).eval()
    how = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"x": {0: "batch"}}}
    path = FOLDER / f"{name}.onnx"
    torch.onnx.export(model, (x[:2],), path, dynamo=dynamo, input_names=["x"], opset_version=opset, verbose=False,
                      external_data=False, **how)
    strip(path)
    run(name, x.numpy())


def strip(path):
    """Without the stack traces of PyTorch's newer exporter, which are most of a small file."""
    model = onnx.load(path)
    model.ClearField("metadata_props")
    for part in [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)


def mlp(activation, width=7):
    return nn.Sequential(nn.Linear(6, width), activation, nn.Linear(width, 3))


class Residual(nn.Module):
    """Observations scaled and clipped, blocks with layer norms, a concatenation, two heads."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.block = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))
        self.policy = nn.Linear(14, 3)
        self.value = nn.Sequential(nn.Linear(14, 4), nn.Tanh(), nn.Linear(4, 1))
        self.register_buffer("mean", features(2, 6))
        self.register_buffer("var", features(3, 6).square() + 0.5)

    def forward(self, x):
        x = torch.clamp((x - self.mean) / torch.sqrt(self.var + 1e-8), -2, 2)
        h = nn.functional.silu(self.stem(x))
        h = torch.cat([h + self.block(h), x], -1)
        return torch.softmax(self.policy(h), -1), self.value(h).squeeze(-1)


class Gaussian(nn.Module):
    """A policy whose actions are scaled after their tanh, and the scale of its noise."""

    def __init__(self):
        super().__init__()
        self.trunk = mlp(nn.ELU())
        self.spread = nn.Linear(3, 2)
        self.register_buffer("scale", torch.tensor([2.0, 0.5, 1.0]))
        self.register_buffer("shift", torch.tensor([0.0, -1.0, 0.25]))

    def forward(self, x):
        h = self.trunk(x / 255)
        return torch.tanh(h) * self.scale + self.shift, torch.sigmoid(self.spread(h))


class Viewed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x):
        return self.layer(x.view(x.size(0), -1)).relu()


class Sines(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.sin(1.5 * self.first(x)))


def normalised():
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1),
                          nn.BatchNorm1d(8), nn.Linear(8, 3, bias=False))
    for seed, norm in enumerate(module for module in model if isinstance(module, nn.BatchNorm1d)):
        count = norm.num_features
        norm.running_mean, norm.running_var = features(10 + seed, count), features(20 + seed, count).square() + 0.1
        norm.weight.data, norm.bias.data = features(30 + seed, count), features(40 + seed, count)
    return model


def pytorch():
    torch.manual_seed(0)
    activations = {
        "relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.02), "prelu": nn.PReLU(init=0.1), "elu": nn.ELU(0.7),
        "celu": nn.CELU(), "selu": nn.SELU(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU(approximate="tanh"),
        "silu": nn.SiLU(), "softplus": nn.Softplus(), "softplus_beta": nn.Softplus(beta=2.0),
        "hard_sigmoid": nn.Hardsigmoid(), "hard_tanh": nn.Hardtanh(-0.5, 0.75), "relu6": nn.ReLU6(),
        "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "softmax": nn.Identity(),
    }
    for name, activation in activations.items():
        model = mlp(activation)
        if name == "softmax":
            model.append(nn.Softmax(-1))
        export(f"torch_{name}", model, opset=17)
        if name in {"gelu", "gelu_tanh", "silu", "softplus", "softplus_beta", "hard_sigmoid", "prelu"}:
            export(f"dynamo_{name}", model, dynamo=True)
    export("torch_gelu_13", mlp(nn.GELU()), opset=13)
    export("torch_gelu_20", mlp(nn.GELU()), opset=20)
    norm = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8, eps=1e-3), nn.GELU(), nn.Linear(8, 2))
    export("torch_layer_norm_13", norm, opset=13)
    export("torch_layer_norm_17", norm, opset=17)
    export("dynamo_layer_norm", norm, dynamo=True)
    for name, model in {"residual": Residual(), "gaussian": Gaussian(), "batch_norm": normalised(), "sines": Sines()}.items():
        export(f"torch_{name}", model, opset=17)
        export(f"dynamo_{name}", model, dynamo=True)
    export("torch_viewed", Viewed(), features(1, ROWS, 2, 3), opset=17)
    export("dynamo_viewed", Viewed(), features(1, ROWS, 2, 3), dynamo=True)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    export("torch_flatten", flat, features(1, ROWS, 1, 2, 3), opset=13)
    doubles = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3))
    export("torch_f64", doubles, features(1, ROWS, 6, dtype=torch.float64), opset=17)
    export("dynamo_f64", doubles, features(1, ROWS, 6, dtype=torch.float64), dynamo=True)
    for opset in (18, 21, 23):
        export(f"dynamo_opset_{opset}", mlp(nn.ReLU()), dynamo=True, opset=opset)


# scikit-learn -----------------------------------------------------------------------------------------------------


def scikit_learn():
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = features(1, 60, 6).numpy() * 3 + 1
    y = x[:, 0] - x[:, 1] * x[:, 2]
    for name, activation in {"relu": "relu", "tanh": "tanh", "logistic": "logistic"}.items():
        model = MLPRegressor(hidden_layer_sizes=(7, 5), activation=activation, max_iter=30, random_state=1).fit(x, y)
        save(f"sklearn_{name}", to_onnx(model, x[:1], target_opset=17), x[:ROWS])


# By hand ----------------------------------------------------------------------------------------------------------


def save(name, model, x):
    onnx.save(model, FOLDER / f"{name}.onnx")
    run(name, x)


def weights(seed, *shape, dtype=numpy.float32):
    return (features(seed, *shape).numpy() * 0.5).astype(dtype)


class Hand:
    """A graph node by node."""

    def __init__(self, opset=17, dtype=TensorProto.FLOAT, inputs=(6,)):
        self.opset, self.dtype, self.inputs = opset, dtype, inputs
        self.nodes, self.initializers, self.count = [], [], 0

    def op(self, operator, *inputs, **attributes):
        self.count += 1
        output = f"{operator.lower()}_{self.count}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"node_{self.count}", **attributes))
        return output

    def tensor(self, name, array):
        self.initializers.append(numpy_helper.from_array(numpy.asarray(array), name))
        return name

    def model(self, *outputs, batch="N"):
        x = helper.make_tensor_value_info("x", self.dtype, [batch, *self.inputs])
        y = [helper.make_tensor_value_info(output, self.dtype, None) for output in outputs]
        graph = helper.make_graph(self.nodes, "by_hand", [x], y, self.initializers)
        opsets = [helper.make_operatorsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = min(model.ir_version, 10 if self.opset < 24 else model.ir_version)
        return onnx.shape_inference.infer_shapes(model)


def by_hand():
    x = features(1, ROWS, 6).numpy()

    def dense(hand, h, seed, inputs, outputs, activation="Relu"):
        w, b = hand.tensor(f"w{seed}", weights(seed, inputs, outputs)), hand.tensor(f"b{seed}", weights(seed + 50, outputs))
        h = hand.op("Add", hand.op("MatMul", h, w), b)
        return hand.op(activation, h) if activation else h

    newest = min(onnx.defs.onnx_opset_version(), 25)
    for opset in range(13, newest + 1):
        hand = Hand(opset)
        h = dense(hand, "x", 1, 6, 5)
        y = hand.op("Softmax", dense(hand, h, 2, 5, 3, None))
        save(f"hand_opset_{opset}", hand.model(y), x)

    # As tf2onnx and keras2onnx lay out a Sequential: kernels [inputs, outputs], names with slashes and colons.
    hand = Hand(13)
    k1 = hand.tensor("model/dense/MatMul/ReadVariableOp:0", weights(1, 6, 5))
    b1 = hand.tensor("model/dense/BiasAdd/ReadVariableOp:0", weights(2, 5))
    k2 = hand.tensor("model/dense_1/MatMul/ReadVariableOp:0", weights(3, 5, 3))
    b2 = hand.tensor("model/dense_1/BiasAdd/ReadVariableOp:0", weights(4, 3))
    h = hand.op("Tanh", hand.op("Add", hand.op("MatMul", "x", k1), b1))
    y = hand.op("Identity", hand.op("Softmax", hand.op("Add", b2, hand.op("MatMul", h, k2)), axis=1))
    save("hand_tensorflow", hand.model(y), x)

    # A bias on the left, of [1, outputs]; Gemm with every setting but transA.
    hand = Hand()
    h = hand.op("Add", hand.tensor("b", weights(1, 1, 5)), hand.op("MatMul", "x", hand.tensor("w", weights(2, 6, 5))))
    h = hand.op("Gemm", h, hand.tensor("v", weights(3, 5, 4)), hand.tensor("c", weights(4, 1)), alpha=0.5, beta=-2.0)
    h = hand.op("Gemm", h, hand.tensor("u", weights(5, 4, 4)), alpha=1.5, transB=1)
    y = hand.op("Gemm", h, hand.tensor("t", weights(6, 3, 4)), hand.tensor("d", weights(7, 3)), beta=0.0, transB=1)
    save("hand_gemm", hand.model(y), x)

    # Weights that are transposed in the graph, in halves, and cast.
    for name, to in {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}.items():
        for is_raw in (True, False):
            hand = Hand()
            values = weights(1, 5, 6)
            if is_raw:
                halves = values.astype(helper.tensor_dtype_to_np_dtype(to))
                tensor = helper.make_tensor("w", to, [5, 6], halves.tobytes(), raw=True)
            else:
                tensor = helper.make_tensor("w", to, [5, 6], values.flatten())
            hand.initializers.append(tensor)
            w = hand.op("Transpose", hand.op("Cast", "w", to=TensorProto.FLOAT), perm=[1, 0])
            y = hand.op("MatMul", "x", w)
            save(f"hand_{name}_{'raw' if is_raw else 'typed'}", hand.model(y), x)

    # Typed numbers, in place of raw bytes.
    hand = Hand()
    hand.initializers.append(helper.make_tensor("w", TensorProto.FLOAT, [6, 3], weights(1, 6, 3).flatten()))
    hand.initializers.append(helper.make_tensor("shape", TensorProto.INT64, [2], [0, -1]))
    y = hand.op("Reshape", hand.op("MatMul", "x", "w"), "shape")
    save("hand_typed", hand.model(y), x)
    hand = Hand(dtype=TensorProto.DOUBLE)
    hand.initializers.append(helper.make_tensor("w", TensorProto.DOUBLE, [6, 3], weights(1, 6, 3).flatten()))
    y = hand.op("Softmax", hand.op("MatMul", "x", "w"))
    save("hand_typed_f64", hand.model(y), x.astype(numpy.float64))

    # Scalers: every kind of arithmetic at the inputs.
    hand = Hand()
    h = hand.op("Sub", "x", hand.tensor("mean", weights(1, 6)))
    h = hand.op("Div", h, hand.tensor("std", numpy.abs(weights(2, 6)) + 0.5))
    h = hand.op("Mul", h, hand.tensor("half", numpy.float32(0.5)))
    h = hand.op("Add", hand.tensor("shift", weights(3, 1, 6)), h)
    save("hand_scaler", hand.model(dense(hand, h, 4, 6, 3)), x)
    # Of which some are no scaler: factors below 0, and 0.
    hand = Hand()
    h = hand.op("Mul", "x", hand.tensor("signs", numpy.float32([1, -1, 0, 2, -0.5, 1])))
    h = hand.op("Sub", hand.tensor("one", numpy.float32(1)), h)
    save("hand_negative_scaler", hand.model(dense(hand, h, 4, 6, 3)), x)
    # In doubles, where onnxruntime has what it takes.
    hand = Hand(dtype=TensorProto.DOUBLE)
    h = hand.op("Div", hand.op("Sub", "x", hand.tensor("m", weights(1, 6, dtype=numpy.float64))),
                hand.tensor("s", numpy.abs(weights(2, 6, dtype=numpy.float64)) + 0.5))
    h = hand.op("Gemm", h, hand.tensor("w", weights(3, 6, 5, dtype=numpy.float64)),
                hand.tensor("c", weights(4, 5, dtype=numpy.float64)))
    h = hand.op("Clip", h, hand.tensor("lo", numpy.float64(-0.5)), hand.tensor("hi", numpy.float64(0.9)))
    h = hand.op("Sin", hand.op("Mul", hand.op("MatMul", h, hand.tensor("v", weights(5, 5, 4, dtype=numpy.float64))),
                               hand.tensor("f", numpy.float64(2))))
    save("hand_f64", hand.model(h), x.astype(numpy.float64))

    # Activations that only nodes say, with ONNX's defaults.
    for operator in ("HardSigmoid", "LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Gelu", "Sin"):
        hand = Hand(20)
        h = dense(hand, "x", 1, 6, 5, operator)
        save(f"hand_default_{operator.lower()}", hand.model(dense(hand, h, 2, 5, 2, None)), x)
    hand = Hand(20)
    h = hand.op("Selu", dense(hand, "x", 1, 6, 5, None), alpha=1.5, gamma=2.0)
    h = hand.op("Gelu", dense(hand, h, 2, 5, 5, None), approximate="tanh")
    h = hand.op("HardSigmoid", dense(hand, h, 3, 5, 5, None), alpha=0.3, beta=0.4)
    save("hand_settings", hand.model(dense(hand, h, 4, 5, 2, None)), x)
    # The square of a clipped ReLU, as chess networks have it; an activation of the inputs; one after another.
    hand = Hand()
    h = hand.op("Clip", dense(hand, "x", 1, 6, 5, None), hand.tensor("zero", numpy.float32(0)), hand.tensor("one", numpy.float32(1)))
    save("hand_screlu", hand.model(dense(hand, hand.op("Pow", h, hand.tensor("two", numpy.float32(2))), 2, 5, 2, None)), x)
    hand = Hand()
    h = hand.op("Tanh", hand.op("Relu", dense(hand, hand.op("Tanh", "x"), 1, 6, 5)))
    save("hand_activations_in_a_row", hand.model(h), x)

    # Graphs: a sum of three, a concatenation with the inputs, three heads of which one is read by another.
    hand = Hand()
    a = dense(hand, "x", 1, 6, 5)
    b = dense(hand, a, 2, 5, 5, "Tanh")
    c = hand.op("Relu", hand.op("Sub", hand.op("Sum", a, b, hand.tensor("s", weights(9, 5))), dense(hand, b, 3, 5, 5, None)))
    d = hand.op("Concat", c, "x", a, axis=-1)
    logits = dense(hand, d, 4, 16, 3, None)
    value = hand.op("Squeeze", dense(hand, d, 5, 16, 1, None), hand.tensor("axis", numpy.int64([1])))
    save("hand_graph", hand.model(logits, value, hand.op("Softmax", logits, axis=1)), x)
    # Shapes that do nothing, of a batch that is stated.
    hand = Hand(inputs=(1, 6))
    h = hand.op("Squeeze", "x", hand.tensor("axes", numpy.int64([1])))
    h = hand.op("Reshape", dense(hand, h, 1, 6, 5), hand.tensor("shape", numpy.int64([ROWS, 5])))
    h = hand.op("Unsqueeze", hand.op("Flatten", hand.op("Dropout", h)), "axes")
    h = hand.op("LayerNormalization", h, hand.tensor("g", weights(5, 5)), axis=-1, epsilon=0.01)
    save("hand_shapes", hand.model(dense(hand, h, 2, 5, 2, "Tanh"), batch=ROWS), x.reshape(ROWS, 1, 6))
    # Batch norms: behind an activation, where nothing but a layer of its own can take it, and before two layers.
    hand = Hand()
    norm = [hand.tensor(f"n{i}", numpy.abs(weights(20 + i, 5)) + 0.1 if i == 3 else weights(20 + i, 5)) for i in range(4)]
    h = hand.op("BatchNormalization", dense(hand, "x", 1, 6, 5), *norm, epsilon=0.001)
    y = hand.op("Add", dense(hand, h, 2, 5, 5), dense(hand, h, 3, 5, 5, "Sigmoid"))
    save("hand_batch_norm", hand.model(hand.op("BatchNormalization", hand.op("Tanh", y), *norm)), x)
    # Constants in nodes of their own.
    hand = Hand()
    for name, attribute in {"value_float": 0.5, "value_floats": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}.items():
        hand.nodes.append(helper.make_node("Constant", [], [name], **{name: attribute}))
    h = hand.op("Mul", hand.op("Sub", "x", "value_floats"), "value_float")
    save("hand_constants", hand.model(dense(hand, h, 1, 6, 2)), x)


# What no network is -----------------------------------------------------------------------------------------------


def refuse(name, what, model):
    onnx.save(model, FOLDER / f"refused_{name}.onnx")
    refused.append(f"{name} {what}")


def refusals():
    def after_dense(operator, *inputs, opset=20, **attributes):
        hand = Hand(opset)
        h = hand.op("MatMul", "x", hand.tensor("w", weights(1, 6, 4)))
        names = [hand.tensor(f"input_{i}", array) for i, array in enumerate(inputs)]
        return hand.model(hand.op(operator, h, *names, **attributes))

    for operator in ("LogSoftmax", "Cos", "ReduceSum"):
        refuse(operator.lower(), operator, after_dense(operator))
    refuse("softmax_axis", "Softmax", after_dense("Softmax", axis=0))
    refuse("elu_alpha", "Elu", after_dense("Elu", alpha=-1.0))
    refuse("clip_below", "Clip", after_dense("Clip", numpy.float32(0.5)))
    refuse("prelu_slopes", "PRelu", after_dense("PRelu", weights(2, 4)))
    refuse("batch_statistics", "BatchNormalization",
           after_dense("BatchNormalization", *[weights(i, 4) for i in range(3)], numpy.ones(4, numpy.float32), opset=13, training_mode=1))
    hand = Hand()
    refuse("trans_a", "Gemm", hand.model(hand.op("Gemm", "x", hand.tensor("w", weights(1, 6, 4)), transA=1)))
    hand = Hand()
    softmax = hand.op("Softmax", hand.op("MatMul", "x", hand.tensor("w", weights(1, 6, 4))))
    refuse("inner_softmax", "Softmax", hand.model(hand.op("MatMul", softmax, hand.tensor("v", weights(2, 4, 2)))))
    hand = Hand()
    a, b = (hand.op("MatMul", "x", hand.tensor(f"w{i}", weights(i, 6, 4))) for i in range(2))
    refuse("product", "Mul", hand.model(hand.op("Mul", a, b)))
    hand = Hand()
    h = hand.op("Relu", hand.op("MatMul", "x", hand.tensor("w", weights(1, 6, 200))))
    refuse("wide_scale", "Mul", hand.model(hand.op("Mul", h, hand.tensor("s", weights(2, 200)))))
    hand = Hand(inputs=("features",))
    refuse("open_features", "input", hand.model(hand.op("MatMul", "x", hand.tensor("w", weights(1, 6, 4)))))
    hand = Hand()
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [6, 4], weights(1, 6, 4).flatten())
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    hand.initializers.append(tensor)
    refuse("external_data", "weights.bin", hand.model(hand.op("MatMul", "x", "w")))


FOLDER.mkdir(parents=True, exist_ok=True)
for old in FOLDER.glob("*.onnx"):
    old.unlink()
by_hand()
scikit_learn()
pytorch()
refusals()
save_file(expected, FOLDER / "expected.safetensors")
(FOLDER / "refused.txt").write_text("".join(f"{line}\n" for line in refused))
print(f"{len(expected) // 2} files that are networks, {len(refused)} that are none")
