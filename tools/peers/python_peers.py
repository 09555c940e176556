"""PyTorch and JAX as peers: one line in, one line out, numbers as raw f32 in files.

    python python_peers.py THREADS

setup NAME TASK SIZES HIDDEN OUTPUT LOSS BATCH RATE FILE -> ok
    NAME torch, torch-compile or jax; TASK train, predict or product; FILE: parameters W0 b0 W1 b1 .., each W
    [outputs, inputs], then x [batch, inputs], then targets [batch, outputs].
run NAME STEPS -> ok SECONDS
result NAME FILE -> ok    the parameters, in the same order, or the outputs
drop NAME -> ok
"""

import os
import sys
import time

THREADS = int(sys.argv[1])
# XLA makes a thread for each processor it may use: the only way to limit it.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import torch

torch.set_num_threads(THREADS)


class Job:
    """What setup says, and the arrays of its file."""

    def __init__(self, task, sizes, hidden, output, loss, batch, rate, path):
        self.task, self.loss, self.batch, self.rate = task, loss, int(batch), float(rate)
        self.sizes = [int(size) for size in sizes.split("-")]
        self.activations = [hidden] * (len(self.sizes) - 2) + [output]
        numbers = np.fromfile(path, dtype=np.float32)
        self.layers = []
        for inputs, outputs in zip(self.sizes, self.sizes[1:]):
            weights, biases, numbers = np.split(numbers, [inputs * outputs, (inputs + 1) * outputs])
            self.layers.append((weights.reshape(outputs, inputs), biases))
        x, targets = np.split(numbers, [self.batch * self.sizes[0]])
        self.x = x.reshape(self.batch, self.sizes[0])
        self.targets = targets.reshape(self.batch, self.sizes[-1])


class Torch:
    ACTIVATIONS = {
        "relu": torch.nn.ReLU,
        "tanh": torch.nn.Tanh,
        "sigmoid": torch.nn.Sigmoid,
        "identity": torch.nn.Identity,
    }
    COMPILE = False

    def __init__(self, job):
        self.job, self.y = job, None
        if self.COMPILE:
            # Otherwise the ninth network of a run would no longer be compiled.
            torch._dynamo.reset()
        self.x, self.targets = torch.tensor(job.x), torch.tensor(job.targets)
        if job.loss == "ce":
            self.targets = self.targets.argmax(1)
        self.model = self.build_model()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=job.rate)
        self.loss = torch.nn.CrossEntropyLoss() if job.loss == "ce" else torch.nn.MSELoss()
        self.b = torch.tensor(np.ascontiguousarray(job.layers[0][0].T))
        self.forward = torch.compile(self.model) if self.COMPILE else self.model

    def build_model(self):
        modules = []
        for (weights, biases), activation in zip(self.job.layers, self.job.activations):
            linear = torch.nn.Linear(weights.shape[1], weights.shape[0])
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(weights))
                linear.bias.copy_(torch.tensor(biases))
            modules.append(linear)
            if activation != "identity":
                modules.append(self.ACTIVATIONS[activation]())
        return torch.nn.Sequential(*modules)

    def run(self, steps):
        if self.job.task == "train":
            for _ in range(steps):
                self.optimizer.zero_grad(set_to_none=True)
                self.loss(self.forward(self.x), self.targets).backward()
                self.optimizer.step()
            return
        with torch.inference_mode():
            if self.job.task == "predict":
                for _ in range(steps):
                    self.y = self.forward(self.x)
            else:
                self.y = torch.empty(self.job.batch, self.job.batch)
                for _ in range(steps):
                    torch.mm(self.x, self.b, out=self.y)

    def result(self):
        arrays = self.model.parameters() if self.job.task == "train" else [self.y]
        return [array.detach().numpy() for array in arrays]


class TorchCompile(Torch):
    COMPILE = True


class Jax:
    ACTIVATIONS = {
        "relu": jax.nn.relu,
        "tanh": jnp.tanh,
        "sigmoid": jax.nn.sigmoid,
        "identity": lambda z: z,
    }

    def __init__(self, job):
        self.job, self.y = job, None
        self.x, self.targets = jnp.array(job.x), jnp.array(job.targets)
        if job.loss == "ce":
            self.targets = jnp.argmax(self.targets, 1)
        # [inputs, outputs], as JAX's own examples have them.
        self.parameters = [(jnp.array(weights.T), jnp.array(biases)) for weights, biases in job.layers]
        self.step = jax.jit(self.update)
        self.predict = jax.jit(self.forward)
        self.product = jax.jit(jnp.matmul)

    def forward(self, parameters, x):
        for (weights, biases), activation in zip(parameters, self.job.activations):
            x = self.ACTIVATIONS[activation](x @ weights + biases)
        return x

    def loss(self, parameters, x, targets):
        y = self.forward(parameters, x)
        if self.job.loss == "ce":
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(y), targets[:, None], 1))
        return jnp.mean((y - targets) ** 2)

    def update(self, parameters, x, targets):
        gradients = jax.grad(self.loss)(parameters, x, targets)
        return jax.tree.map(lambda p, d_p: p - self.job.rate * d_p, parameters, gradients)

    def run(self, steps):
        for _ in range(steps):
            if self.job.task == "train":
                self.parameters = self.step(self.parameters, self.x, self.targets)
            elif self.job.task == "predict":
                self.y = self.predict(self.parameters, self.x)
            else:
                self.y = self.product(self.x, self.parameters[0][0])
        jax.block_until_ready(self.parameters if self.job.task == "train" else self.y)

    def result(self):
        if self.job.task != "train":
            return [np.asarray(self.y)]
        return [np.asarray(array).T for layer in self.parameters for array in layer]


PEERS = {"torch": Torch, "torch-compile": TorchCompile, "jax": Jax}


def answer(peers, command, name, *arguments):
    if command == "setup":
        peers[name] = PEERS[name](Job(*arguments))
    elif command == "run":
        start = time.perf_counter()
        peers[name].run(int(arguments[0]))
        return f"ok {time.perf_counter() - start:.9f}"
    elif command == "result":
        np.concatenate([array.ravel() for array in peers[name].result()]).astype("<f4").tofile(arguments[0])
    elif command == "drop":
        peers.pop(name, None)
    else:
        raise ValueError(f"{command} is no command")
    return "ok"


def main():
    peers = {}
    print("ok", flush=True)
    for line in sys.stdin:
        try:
            reply = answer(peers, *line.split())
        except Exception as error:
            reply = "error " + " ".join(f"{type(error).__name__}: {error}".split())
        print(reply, flush=True)


main()
