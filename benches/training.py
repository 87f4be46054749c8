"""PyTorch's side of benches/training.rs: reads a network as JSON lines from standard input, then does a step a line.

    forward | step | profile

answers with seconds (wall, then CPU time of the process), or with operators and their seconds.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F


def window(op):
    return op["kernel"], op["stride"], op["padding"], op["dilation"]


class Network(torch.nn.Module):
    def __init__(self, nodes):
        super().__init__()
        self.nodes, self.layers = nodes, torch.nn.ModuleDict()
        for at, node in enumerate(nodes):
            if node["op"] == "conv":
                kernel, stride, padding, dilation = window(node)
                layer = torch.nn.Conv2d(
                    node["in"], node["out"], kernel, stride, padding, dilation, node["groups"], node["bias"]
                )
            elif node["op"] == "batch_norm":
                layer = torch.nn.BatchNorm2d(node["out"])
            elif node["op"] == "linear":
                layer = torch.nn.Linear(node["in"], node["out"], node["bias"])
            else:
                continue
            self.layers[str(at)] = layer

    def forward(self, x):
        values = []
        for at, node in enumerate(self.nodes):
            op, of = node["op"], [values[i] for i in node["inputs"]]
            if op == "input":
                value = x
            elif op in ("conv", "batch_norm", "linear"):
                value = self.layers[str(at)](of[0])
            elif op in ("relu", "relu6", "hardswish", "sigmoid", "hardsigmoid"):
                value = getattr(torch if op == "sigmoid" else F, op)(of[0])
            elif op == "add":
                value = of[0] + of[1]
                for other in of[2:]:
                    value = value + other
            elif op == "mul":
                value = of[0] * of[1]
            elif op == "concat":
                value = torch.cat(of, 1)
            elif op == "max_pool":
                value = F.max_pool2d(of[0], *window(node)[:3])
            elif op == "avg_pool":
                value = F.avg_pool2d(of[0], *window(node)[:3], count_include_pad=False)
            elif op == "global_avg_pool":
                value = of[0].mean((2, 3))
            elif op == "pad":
                value = F.pad(of[0], node["margins"])
            elif op == "softmax":
                value = F.softmax(of[0], -1)
            elif op == "identity":
                value = of[0]
            else:
                raise ValueError(op)
            values.append(value)
        return values[-1]


def main():
    setup = json.loads(sys.stdin.readline())
    torch.set_num_threads(setup["threads"])
    network = Network(setup["nodes"]).train()
    images, labels = torch.randn(setup["input"]), torch.randint(0, 10, (setup["input"][0],))
    if setup["channels_last"]:
        network = network.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

    def profile():
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            step()
        all = [[event.key, event.self_cpu_time_total / 1e6] for event in profiler.key_averages()]
        return sorted(all, key=lambda event: -event[1])[:10]

    print("ready", torch.__version__, flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        if line.strip() == "profile":
            print(json.dumps(profile()), flush=True)
            continue
        step() if line.strip() == "step" else network(images)
        print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


main()
