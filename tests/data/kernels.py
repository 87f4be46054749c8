"""Makes kernels.safetensors: PyTorch's outputs and gradients for tests/kernels.rs.

    pip install torch safetensors numpy
    python tests/data/kernels.py

Every case has `NAME.window` [kernel, stride, padding, dilation, groups], its operands, the gradient of the
output `NAME.grad`, the output `NAME.out`, and the gradients `NAME.d_OPERAND`. Computed in double precision
from operands rounded to single, stored in single. Made with PyTorch 2.15.0.
"""
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(0)
tensors = {}


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float32).double().requires_grad_()


def case(name, window, operands, f):
    out = f(*operands.values())
    grad = torch.randn_like(out).float().double()
    out.backward(grad)
    tensors[f"{name}.window"] = torch.tensor(window, dtype=torch.int64)
    tensors[f"{name}.out"] = out.detach().float()
    tensors[f"{name}.grad"] = grad.float()
    for operand, tensor in operands.items():
        tensors[f"{name}.{operand}"] = tensor.detach().float()
        tensors[f"{name}.d_{operand}"] = tensor.grad.float()


# batch, in, height, width, out, kernel, stride, padding, dilation, groups
CONVOLUTIONS = [
    (2, 3, 8, 8, 5, 3, 1, 1, 1, 1),
    (3, 4, 9, 7, 4, 3, 2, 1, 1, 1),
    (2, 4, 7, 7, 6, 1, 1, 0, 1, 1),
    (2, 4, 7, 6, 5, 1, 2, 0, 1, 1),
    (1, 4, 9, 9, 4, 3, 1, 2, 2, 2),
    (1, 6, 10, 9, 6, 5, 2, 2, 1, 6),
    (2, 3, 11, 8, 6, 3, 3, 0, 2, 3),
    (1, 5, 6, 6, 5, 3, 1, 1, 1, 5),
]
for at, (b, ci, h, w, co, k, s, p, d, g) in enumerate(CONVOLUTIONS):
    operands = {"input": draw(b, ci, h, w), "weight": draw(co, ci // g, k, k)}
    case(f"conv2d.{at}", [k, s, p, d, g], operands, lambda x, w: F.conv2d(x, w, None, s, p, d, g))
for at, (k, s, p, d) in enumerate([(3, 1, 1, 1), (3, 2, 1, 2), (2, 3, 0, 1)]):
    case(
        f"unfold.{at}", [k, s, p, d, 1], {"input": draw(1, 2, 7, 6)}, lambda x: F.unfold(x, k, dilation=d, padding=p, stride=s)
    )
for at, (h, w, k, s, p) in enumerate([(8, 8, 3, 1, 1), (7, 9, 3, 2, 1), (7, 5, 2, 2, 0), (8, 8, 2, 2, 1), (6, 7, 3, 3, 0)]):
    case(f"max_pool2d.{at}", [k, s, p, 1, 1], {"input": draw(1, 2, h, w)}, lambda x: F.max_pool2d(x, k, s, p))
    case(
        f"avg_pool2d.{at}",
        [k, s, p, 1, 1],
        {"input": draw(1, 2, h, w)},
        lambda x: F.avg_pool2d(x, k, s, p, count_include_pad=False),
    )
ties = torch.relu(torch.randn(2, 2, 6, 6)).double().requires_grad_()
case("max_pool2d.ties", [3, 1, 1, 1, 1], {"input": ties}, lambda x: F.max_pool2d(x, 3, 1, 1))
case(
    "batch_norm.0",
    [1, 1, 0, 1, 1],
    {"input": draw(4, 3, 5, 5), "scale": draw(3), "shift": draw(3)},
    lambda x, scale, shift: F.batch_norm(x, None, None, scale, shift, training=True, eps=1e-5),
)
relu_input = torch.tensor([-2.0, -0.5, -0.0, 0.0, 1e-30, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
case("relu.0", [1, 1, 0, 1, 1], {"input": relu_input}, F.relu)

save_file(tensors, Path(__file__).with_name("kernels.safetensors"))
