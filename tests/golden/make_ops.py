"""Writes ops.json: what PyTorch computes, in float64, for every op, loss, layer and optimiser.

    python tests/golden/make_ops.py        (needs torch; made with 2.x, CPU)

A case holds its inputs (multiples of 1/64, exact in f32 and f64), the outputs, a gradient `dy` of
the first output, and the gradients of the inputs named in `grads`. `tests/golden.rs` builds the
same thing from the ops of this project. Random numbers have no counterpart in PyTorch: their
integer hash is written here a second time, from its description.
"""

import json
import math
import os

import torch
import torch.nn.functional as F

torch.manual_seed(20)
torch.set_default_dtype(torch.float64)
CASES = []


def rnd(*shape, lo=-2.0, hi=2.0):
    """Multiples of 1/64 in lo..hi, never 0 (where many functions have a kink)."""
    x = torch.round((torch.rand(shape) * (hi - lo) + lo) * 64) / 64
    return torch.where(x == 0, torch.full_like(x, 1 / 64), x)


def ints(*shape, below):
    return torch.randint(0, below, shape)


def number(v):
    return int(v) if float(v).is_integer() else float(f"{float(v):.14g}")


def dump(t):
    t = torch.as_tensor(t)
    return {"shape": list(t.shape), "data": [number(v) for v in t.flatten().tolist()]}


def case(build, f, inputs, args=None, grads=None, dtypes=None):
    """f(*tensors) gives the output or a tuple of outputs; the first is differentiated."""
    args, dtypes = args or {}, dtypes or {}
    tensors = {}
    for name, t in inputs.items():
        wants = t.is_floating_point() and dtypes.get(name) is None and (grads is None or name in grads)
        tensors[name] = t.clone().requires_grad_(wants)
    out = f(*tensors.values())
    out = out if isinstance(out, tuple) else (out,)
    record = {"build": build, "args": args, "inputs": [], "outputs": [dump(o.detach()) for o in out], "grads": {}}
    for name, t in inputs.items():
        dtype = dtypes.get(name) or ("f32" if t.is_floating_point() else "u32")
        record["inputs"].append({"name": name, "dtype": dtype, **dump(t)})
    y = out[0]
    if y.requires_grad:
        dy = rnd(*y.shape)
        y.backward(dy)
        record["dy"] = dump(dy)
        for name, t in tensors.items():
            if t.requires_grad:
                record["grads"][name] = dump(t.grad if t.grad is not None else torch.zeros_like(t))
    CASES.append(record)


# Elementwise.
def no_grad_like(f):
    return lambda *a: f(*[t.detach() for t in a]).double()


for name, f in {
    "neg": torch.neg, "exp": torch.exp, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": F.relu,
    "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "abs": torch.abs,
    "erf": torch.erf, "affine": lambda x: 1.5 * x - 0.25, "clamp": lambda x: torch.clamp(x, -0.75, 0.5),
}.items():
    x = rnd(3, 7, lo=-4, hi=4)
    x[0, 0] = 0.5  # a bound of clamp
    if name in ("relu", "abs", "gelu", "silu"):
        x[1, 1] = 0.0
    case(name, f, {"x": x})
for name, f in {"log": torch.log, "sqrt": torch.sqrt}.items():
    case(name, f, {"x": rnd(3, 7, lo=0.1, hi=4)})
case("is_finite", no_grad_like(torch.isfinite), {"x": rnd(5)})
case("to_f32", lambda x: x.double(), {"x": ints(4, 3, below=256)}, dtypes={"x": "u8"})
case("to_f32", lambda x: x.double(), {"x": ints(4, 3, below=9000)})
PAIRS = [((5,), (5,)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), (2, 3))]
for a, b in PAIRS:
    for name, f in {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "min": torch.minimum, "max": torch.maximum}.items():
        x, y = rnd(*a), rnd(*b)
        if a == b:
            y[0] = x[0]  # a tie
        case(name, f, {"a": x, "b": y})
    for name, f in {"div": torch.div, "pow": torch.pow}.items():
        case(name, f, {"a": rnd(*a, lo=0.2, hi=3), "b": rnd(*b, lo=0.2, hi=3)})
    for name, f in {"less": torch.lt, "less_equal": torch.le, "greater": torch.gt, "greater_equal": torch.ge,
                    "equal": torch.eq, "not_equal": torch.ne}.items():
        case(name, no_grad_like(f), {"a": torch.round(rnd(*a)), "b": torch.round(rnd(*b))})
    c = (torch.rand(b) < 0.5).double()
    case("select", lambda c, x, y: torch.where(c != 0, x, y), {"c": c, "a": rnd(*a), "b": rnd(*b)}, grads=["a", "b"])

# Reductions.
for shape, axes in [((5,), [0]), ((3, 4), [1]), ((3, 4), [0]), ((2, 3, 4, 2), [0, 2, 3])]:
    x = rnd(*shape)
    x.view(-1)[1] = x.view(-1)[0] = 2.0  # equal extremes
    args = {"axes": axes}
    case("sum", lambda x: x.sum(axes, keepdim=True), {"x": x}, args)
    case("mean", lambda x: x.mean(axes, keepdim=True), {"x": x}, args)
    case("max_along", lambda x: x.amax(axes, keepdim=True), {"x": x}, args)
    case("min_along", lambda x: x.amin(axes, keepdim=True), {"x": -x}, args)
    for correction in (0, 1):
        case("variance", lambda x: x.var(axes, correction=correction, keepdim=True), {"x": x},
             {"axes": axes, "correction": correction})
    if len(axes) == 1:
        case("argmax", lambda x: x.detach().argmax(axes[0]), {"x": x}, {"axis": axes[0]})

# Matrix products.
for m, n, k in [(1, 1, 1), (3, 5, 4), (2, 7, 9)]:
    for ta in (False, True):
        for tb in (False, True):
            f = lambda a, b: (a.mT if ta else a) @ (b.mT if tb else b)
            case("matmul", f, {"a": rnd(*((k, m) if ta else (m, k))), "b": rnd(*((n, k) if tb else (k, n)))},
                 {"transpose_a": ta, "transpose_b": tb})
    case("linear", F.linear, {"x": rnd(m, k), "w": rnd(n, k), "bias": rnd(n)})
for a, b in [((2, 3, 4), (2, 4, 2)), ((2, 3, 4), (4, 2)), ((3, 4), (2, 4, 2)), ((2, 1, 3, 2), (3, 2, 2))]:
    case("matmul", torch.matmul, {"a": rnd(*a), "b": rnd(*b)}, {"transpose_a": False, "transpose_b": False})

# Convolution.
for x, o, kernel, stride, padding, dilation, groups in [
    ((1, 1, 1, 1), 1, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 5, 4), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 2, 7, 8), 3, (5, 5), (2, 2), (2, 2), (1, 1), 1),
    ((2, 4, 5, 5), 6, (3, 3), (1, 1), (0, 0), (1, 1), 2),
    ((1, 2, 8, 7), 3, (3, 2), (1, 1), (2, 1), (2, 3), 1),
    ((1, 3, 6, 6), 3, (3, 3), (1, 2), (1, 1), (1, 1), 3),
    ((2, 5, 3, 3), 7, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 2, 8, 9), 2, (4, 4), (3, 3), (0, 0), (1, 1), 1),
    ((1, 2, 6, 5), 4, (2, 3), (2, 1), (1, 2), (3, 1), 2),
]:
    args = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    w = rnd(o, x[1] // groups, *kernel, lo=-1, hi=1)
    case("conv2d", lambda x, w: F.conv2d(x, w, None, **args), {"x": rnd(*x), "w": w}, args)
    case("conv2d", lambda x, w, b: F.conv2d(x, w, b, **args), {"x": rnd(*x), "w": w, "bias": rnd(o)}, args)

# Shapes and places.
case("full", lambda: torch.full((2, 3), 2.5), {}, {"value": 2.5, "shape": [2, 3]})
for a, b in [((2, 3, 4), (2, 12)), ((6,), (2, 3)), ((1,), ()), ((3, 4), (4, 3))]:
    case("reshape", lambda x: x.reshape(b), {"x": rnd(*a)}, {"shape": b})
for a, p in [((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1))]:
    case("permute", lambda x: x.permute(p), {"x": rnd(*a)}, {"perm": p})
for a, b in [((), (3,)), ((3, 1), (3, 4)), ((4,), (2, 3, 4))]:
    case("broadcast", lambda x: x.expand(b), {"x": rnd(*a)}, {"shape": b})
case("slice", lambda x: x[2:6, 0:5], {"x": rnd(7, 5)}, {"starts": [2, 0], "ends": [6, 5], "steps": [1, 1]})
case("slice", lambda x: x[1:3, 3:10:4, ::2], {"x": rnd(3, 11, 5)}, {"starts": [1, 3, 0], "ends": [3, 10, 5], "steps": [1, 4, 2]})
case("concat", lambda a, b, c: torch.cat([a, b, c], 0), {"a": rnd(2, 3), "b": rnd(1, 3), "c": rnd(4, 3)}, {"axis": 0})
case("concat", lambda a, b: torch.cat([a, b], 1), {"a": rnd(2, 3, 2), "b": rnd(2, 4, 2)}, {"axis": 1})
nine = {f"x{i}": rnd(2, i + 1) for i in range(9)}
case("concat", lambda *x: torch.cat(x, 1), nine, {"axis": 1})
case("pad", lambda x: F.pad(x, (0, 2, 1, 0), value=0.5), {"x": rnd(3, 4)}, {"before": [1, 0], "after": [0, 2], "value": 0.5})
case("pad", lambda x: F.pad(x, (4, 3, 2, 1)), {"x": rnd(2, 1, 3, 3)},
     {"before": [0, 0, 2, 4], "after": [0, 0, 1, 3], "value": 0.0})
for rows, row, lead in [(7, (3,), (5,)), (4, (), (9,)), (6, (2, 2), (3, 2))]:
    case("gather", lambda x, i: x[i], {"x": rnd(rows, *row), "index": ints(*lead, below=rows)})
case("one_hot", lambda i: F.one_hot(i, 5), {"label": ints(2, 4, below=5)}, {"classes": 5})

# Softmax.
for shape, axis in [((1,), 0), ((3, 7), 1), ((3, 7), 0), ((2, 5, 3), 1)]:
    case("softmax", lambda x: F.softmax(x, axis), {"x": rnd(*shape, lo=-4, hi=4)}, {"axis": axis})
    case("log_softmax", lambda x: F.log_softmax(x, axis), {"x": rnd(*shape, lo=-4, hi=4)}, {"axis": axis})
far = torch.tensor([[300.0, 298.5, -300.0], [1000.0, 999.0, 1001.5]])
case("softmax", lambda x: F.softmax(x, 1), {"x": far}, {"axis": 1})
case("log_softmax", lambda x: F.log_softmax(x, 1), {"x": far}, {"axis": 1})

# Pooling and resizing.
for shape, kernel, stride, padding in [
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0)),
    ((2, 2, 7, 5), (2, 2), (2, 2), (0, 0)),
    ((1, 2, 8, 9), (3, 3), (2, 2), (1, 1)),
    ((1, 2, 6, 5), (3, 2), (1, 1), (1, 0)),
    ((1, 1, 8, 7), (2, 3), (3, 4), (0, 1)),
]:
    args = {"kernel": kernel, "stride": stride, "padding": padding}
    x = torch.round(rnd(*shape) * 2) / 2  # many ties
    case("max_pool", lambda x: F.max_pool2d(x, kernel, stride, padding), {"x": x}, args)
    index = F.max_pool2d(x, kernel, stride, padding, return_indices=True)[1]
    case("max_pool.index", lambda x: index, {"x": x}, args)
    take = lambda x, i: x.detach().flatten(2).gather(2, i.flatten(2)).view(i.shape)
    case("max_pool.take", take, {"x": x, "index": index})
    for pad in (True, False):
        case("avg_pool", lambda x: F.avg_pool2d(x, kernel, stride, padding, count_include_pad=pad), {"x": rnd(*shape)},
             {**args, "count_include_pad": pad})
for shape, out in [((2, 3, 7, 5), (1, 1)), ((1, 2, 7, 10), (3, 4)), ((1, 1, 5, 3), (7, 3)), ((1, 2, 4, 6), (2, 3))]:
    case("adaptive_avg_pool", lambda x: F.adaptive_avg_pool2d(x, out), {"x": rnd(*shape)}, {"out": out})
for shape, out in [((1, 2, 1, 3), (4, 1)), ((2, 1, 5, 7), (11, 13)), ((1, 2, 9, 8), (5, 3)), ((1, 1, 6, 6), (6, 9)),
                   ((1, 1, 3, 3), (21, 21)), ((1, 1, 13, 2), (4, 2))]:
    resize = lambda x: F.interpolate(x, size=out, mode="bilinear", align_corners=False)
    case("bilinear_resize", resize, {"x": rnd(*shape)}, {"out": out})

# Random numbers and augmentation.
M32 = 0xFFFFFFFF


def mix(x):
    x ^= x >> 16
    x = x * 0x7FEB352D & M32
    x ^= x >> 15
    x = x * 0x846CA68B & M32
    return x ^ (x >> 16)


def bits(name, seed, step, counter):
    key = 0x811C9DC5
    for byte in name.encode():
        key = (key ^ byte) * 0x01000193 & M32
    h = mix(key)
    for part in (seed, step, counter):
        h = mix(h + part & M32)
    return h >> 8


def uniform(name, rng, shape):
    n = math.prod(shape)
    return torch.tensor([bits(name, *rng, i) / 2**24 for i in range(n)]).view(shape)


def crop_flip(name, x, rng, padding, flip):
    out = []
    for b, image in enumerate(x.double()):
        top, left, flipped = (bits(name, *rng, 3 * b + k) for k in range(3))
        h, w = image.shape[1:]
        top, left = (top % (2 * padding + 1), left % (2 * padding + 1)) if padding else (0, 0)
        z = F.pad(image, (padding,) * 4)[:, top : top + h, left : left + w]
        out.append(z.flip(2) if flip and flipped % 2 else z)
    return torch.stack(out)


RNG = torch.tensor([4_000_000_007, 12])
for shape in [(), (7, 3)]:
    case("random", lambda rng: uniform("noise", rng.tolist(), shape), {"rng": RNG}, {"name": "noise", "shape": shape})
case("dropout", lambda x, rng: x * (uniform("drop1", rng.tolist(), x.shape) >= 0.3) / 0.7, {"x": rnd(6, 5), "rng": RNG},
     {"name": "drop1", "p": 0.3})
for shape, padding, flip in [((6, 2, 4, 5), 2, True), ((5, 1, 3, 3), 0, True), ((4, 1, 5, 4), 1, False)]:
    case("crop_flip", lambda x, rng: crop_flip("augment", x, rng.tolist(), padding, flip),
         {"x": ints(*shape, below=256), "rng": RNG}, {"name": "augment", "padding": padding, "flip": flip}, dtypes={"x": "u8"})
mean, std = torch.tensor([0.5, 0.25, 0.375]).view(1, 3, 1, 1), torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1)
case("normalize", lambda x, m, s: (x.double() / 255 - m) / s, {"x": ints(2, 3, 4, 3, below=256), "mean": mean, "std": std},
     dtypes={"x": "u8"})
case("normalize", lambda x, m, s: (x / 255 - m) / s, {"x": rnd(2, 3, 2, 2, lo=0, hi=255), "mean": mean, "std": std})

# Losses.
for smoothing in (0.0, 0.1):
    for weighted in (False, True):
        inputs = {"x": rnd(6, 5, lo=-4, hi=4), "label": ints(6, below=5)}
        if weighted:
            inputs["weight"] = rnd(5, lo=0.25, hi=2)
        loss = lambda r: lambda x, t, w=None: F.cross_entropy(x, t, w, label_smoothing=smoothing, reduction=r)
        args = {"smoothing": smoothing}
        case("cross_entropy", loss("mean"), inputs, args, grads=["x"])
        case("cross_entropy_each", loss("none"), inputs, args, grads=["x"])
case("correct", lambda x, t: (x.detach().argmax(1) == t).sum(), {"x": rnd(9, 3), "label": ints(9, below=3)})
logits = rnd(4, 3, lo=-5, hi=5)
logits[0, 0] = 0.0
case("bce_with_logits", F.binary_cross_entropy_with_logits, {"x": logits, "t": (torch.rand(4, 3) < 0.5).double()})
case("bce_with_logits", F.binary_cross_entropy_with_logits, {"x": logits, "t": rnd(4, 3, lo=0.1, hi=0.9)})
case("mse", F.mse_loss, {"x": rnd(4, 3), "t": rnd(4, 3)})

# Batch norm: output, then the running statistics after the step.
for shape in [(6, 3), (2, 3, 4, 2)]:
    for train in (True, False):
        def norm(x, w, b, mean, var):
            mean, var = mean.clone(), var.clone()
            y = F.batch_norm(x, mean, var, w, b, training=train, momentum=0.125, eps=1e-5)
            return (y, mean, var) if train else y
        inputs = {"x": rnd(*shape), "bn.weight": rnd(3), "bn.bias": rnd(3), "bn.running_mean": rnd(3),
                  "bn.running_var": rnd(3, lo=0.25, hi=2)}
        case("batch_norm", norm, inputs, {"momentum": 0.125, "eps": 1e-5, "train": train}, grads=["x", "bn.weight", "bn.bias"])

# Optimisers: five steps with given gradients; outputs are the parameter after each.
LR = 1 / 128
for kind, make, args in [
    ("sgd", torch.optim.SGD, {}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    ("sgd", torch.optim.SGD, {"weight_decay": 0.01}),
    ("rmsprop", torch.optim.RMSprop, {"alpha": 0.99, "eps": 1e-8}),
    ("rmsprop", torch.optim.RMSprop, {"alpha": 0.95, "eps": 1e-6, "momentum": 0.9, "weight_decay": 0.01}),
    ("adam", torch.optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-8}),
    ("adam", torch.optim.Adam, {"betas": (0.85, 0.98), "eps": 1e-6, "weight_decay": 0.01}),
    ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
]:
    p = torch.nn.Parameter(rnd(2, 3))
    record = {"build": "optimizer", "args": {"kind": kind, "lr": LR, **args}, "inputs": [], "outputs": [], "grads": {}}
    record["inputs"].append({"name": "p", "dtype": "f32", **dump(p.detach())})
    optimizer = make([p], lr=LR, **args)
    for step in range(5):
        p.grad = rnd(2, 3)
        record["inputs"].append({"name": f"g{step}", "dtype": "f32", **dump(p.grad)})
        optimizer.step()
        record["outputs"].append(dump(p.detach()))
    CASES.append(record)

# Clipping: the clipped gradients, then the norm before.
for most in (1.0, 100.0):
    grads = [rnd(3, 2), rnd(5), rnd()]
    params = [torch.nn.Parameter(torch.zeros_like(d)) for d in grads]
    for p, d in zip(params, grads):
        p.grad = d.clone()
    norm = torch.nn.utils.clip_grad_norm_(params, most)
    CASES.append({
        "build": "clip_by_norm", "args": {"max_norm": most}, "grads": {},
        "inputs": [{"name": f"g{i}", "dtype": "f32", **dump(d)} for i, d in enumerate(grads)],
        "outputs": [dump(p.grad) for p in params] + [dump(norm)],
    })

# The ring of the last losses: its place is the step modulo its length.
def record(ring, value, rng):
    ring = ring.detach().clone()
    ring[rng[1] % len(ring)] = value.detach()
    return ring


case("record", record, {"ring": rnd(7), "value": rnd(), "rng": RNG})

# A table's columns on one scale. (At the end, so that earlier cases keep their numbers.)
for rows, columns in [(1, 1), (8, 2), (7, 13)]:
    x = rnd(rows, columns)
    case("standardize", lambda x, m, s: (x - m) / s,
         {"x": x, "mean": rnd(1, columns), "std": rnd(1, columns, lo=0.5, hi=2)})
    case("min_max", lambda x, a, b: (x - a) / (b - a),
         {"x": x, "min": rnd(1, columns, lo=-3, hi=-2), "max": rnd(1, columns, lo=2, hi=3)})

# Rounding to f16: ties between neighbours (the even one wins) at several exponents, numbers beside them,
# denormals, the largest.
STEP = [2.0**-11, 3 * 2.0**-11, 2.0**-11 + 2.0**-20, 2.0**-11 - 2.0**-20]
HALVES = torch.tensor([s * (1 + d) * 2.0**e for e in (-14, -3, 0, 9, 15) for d in STEP for s in (1, -1)]
                      + [k * 2.0**-26 for k in range(1, 15)] + [2.0**-14 - 2.0**-26, 2.0**-15 + 2.0**-25, 0.1, 65504, 65519])
case("half", lambda x: x.half().double(), {"x": HALVES})
CASES[-1]["inputs"][0]["data"] = HALVES.tolist()  # every digit: a tie is one exactly
case("half_is_finite", no_grad_like(lambda x: torch.isfinite(x.half())), {"x": torch.tensor([65519.0, 65520, -65520, 1e30])})

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops.json")
with open(path, "w") as f:
    f.write('{"torch": ' + json.dumps(torch.__version__) + ', "cases": [\n')
    f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES))
    f.write("\n]}\n")
print(len(CASES), "cases,", os.path.getsize(path), "bytes")
