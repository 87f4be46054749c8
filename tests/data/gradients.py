"""What PyTorch, in double precision, says of the small network of src/indicator/loss/tests.rs: python gradients.py"""

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def series(count, start):
    i = np.arange(count)
    return torch.tensor(np.sin(start + 0.731 * i * (1 + i % 7)))


def tensors(start):
    shapes = {"c1": (3, 2, 3, 3), "s1": (3,), "b1": (3,), "c2": (4, 3, 3, 3), "s2": (4,), "b2": (4,), "w": (3, 4), "b": (3,)}
    made = {}
    for k, (name, shape) in enumerate(shapes.items()):
        values = series(int(np.prod(shape)), start + k).reshape(shape)
        made[name] = {"s": 1 + 0.3 * values, "b": 0.2 * values}.get(name[0], 0.6 * values).requires_grad_()
    return made


def run(p, x, keep=None, stats=True):
    a = F.conv2d(x, p["c1"], padding=1)
    h = F.relu(F.batch_norm(a, None, None, p["s1"], p["b1"], training=True) if stats else a)
    b = F.conv2d(h, p["c2"], stride=2, padding=1)
    h = F.relu(F.batch_norm(b, None, None, p["s2"], p["b2"], training=True) if stats else b)
    y = F.linear(h.mean((2, 3)), p["w"], p["b"] if stats else None)
    if keep is not None:
        keep += [a, b, y, h]
    return y


x, labels = series(4 * 2 * 16, 0.5).reshape(4, 2, 4, 4), torch.tensor([0, 1, 2, 0])
p = tensors(1.0)
weights = [p[name] for name in ("c1", "c2", "w")]
keep = []
loss = F.cross_entropy(run(p, x, keep), labels)
grads = torch.autograd.grad(loss, weights, create_graph=True)
print("grad_norm", sum(g.norm() for g in grads).item())
print("snip", sum((w * g).abs().sum() for w, g in zip(weights, grads)).item())
print("plain", sum((w * g).sum() for w, g in zip(weights, grads)).item())
print("l2_norm", sum(w.norm() for w in weights).item())
outputs = keep[:3]
of_outputs = torch.autograd.grad(loss, outputs, retain_graph=True)
channels = lambda a, g: (a * g).sum((2, 3)) if a.dim() == 4 else a * g
print("fisher", sum((channels(a, g) ** 2).mean(0).sum() / 2 for a, g in zip(outputs, of_outputs)).item())
z = sum((g * g.detach()).sum() for g in grads)
print("grasp", -sum((w * h).sum() for w, h in zip(weights, torch.autograd.grad(z, weights))).item())

q = {name: value.detach().abs().requires_grad_() for name, value in p.items()}
positive = [q[name] for name in ("c1", "c2", "w")]
flow = torch.autograd.grad(run(q, torch.ones(1, 2, 4, 4), stats=False).sum(), positive)
print("synflow", sum((w * g).sum() for w, g in zip(positive, flow)).log().item())

parts = [torch.autograd.grad(F.cross_entropy(run(p, x[i : i + 1]), labels[i : i + 1]), weights) for i in range(4)]
zico = 0
for layer in range(3):
    g = torch.stack([part[layer] for part in parts])
    mean, std = g.abs().mean(0), g.std(0, unbiased=False)
    zico += (mean[std > 0] / std[std > 0]).sum().log()
print("zico", zico.item())

y = run(p, x)
losses = F.cross_entropy(y, labels, reduction="none")
per_sample = [torch.autograd.grad(one, weights, retain_graph=True) for one in losses]
print("grad_sign", sum(torch.stack([s[k].sign() for s in per_sample]).sum(0).abs().sum() for k in range(3)).item())

x_ = x.clone().requires_grad_()
jacobian = torch.autograd.grad(run(p, x_).sum(), x_)[0].reshape(4, -1).numpy()
correlation = np.corrcoef(jacobian)
eigenvalues = np.linalg.eigvalsh(correlation)
print("jacov", -np.sum(np.log(eigenvalues + 1e-5) + 1 / (eigenvalues + 1e-5)))
classes = [[0, 3], [1], [2]]
print("epe_nas", sum(abs(np.log(abs(correlation[np.ix_(c, c)]) + 1e-5).sum()) for c in classes))

print("El2n", (y.softmax(1) - F.one_hot(labels, 3)).norm(dim=1).tolist())
scaled = weights + [p["s1"], p["s2"]]
norm = lambda one: sum((g**2).sum() for g in torch.autograd.grad(one, scaled, retain_graph=True)).sqrt().item()
print("GraNd", [norm(one) for one in losses])


def diswot(p):
    keep = []
    gradient = torch.autograd.grad(F.cross_entropy(run(p, x, keep), labels), p["w"])[0]
    features = keep[3].reshape(4, -1)
    return [F.normalize(torch.outer(g, g)) for g in gradient], F.normalize(features @ features.T)


(teacher, relations), (student, others) = diswot(p), diswot(tensors(2.5))
print("semantic", -sum(((t - s) ** 2).sum() for t, s in zip(teacher, student)).item() / (4 * 3))
print("relation", -((relations - others) ** 2).sum().item() / 16)
