"""A plugin for tests: plugin.py KIND NAME [FAULT]. Does what its kind must, or fails in the way that FAULT names."""

import hashlib
import json
import os
import random
import sys
import time

KIND, NAME = sys.argv[1:3]
FAULT = sys.argv[3] if len(sys.argv) > 3 else ""
OPTIONS, STATE = {}, {}


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def initialize(params):
    OPTIONS.update(params["options"])
    STATE["random"] = random.Random(params["seed"])
    STATE["decisions"] = params.get("decisions", [])
    assert os.path.isdir(params["folder"]) and params["kind"] == KIND
    facts = {"protocol": 2 if FAULT == "protocol" else 1, "name": "other" if FAULT == "name" else NAME, "version": "0.1.0"}
    facts["capabilities"] = ["sample", "mutate"] if KIND == "space" else []
    if KIND in ("indicator", "predictor", "objective"):
        facts.update(direction="maximize", unit="nodes")
    if KIND == "device" and FAULT != "facts":
        facts.update(runtime="sleepy", runtime_version="1.2", execution_provider="dsp")
    if KIND == "space":
        choices = ["conv3", "conv1", "skip", "none"]
        facts.update(decisions=[{"name": str(n), "choices": choices} for n in (1, 2, 3)], input=[3, 8, 8], classes=4)
    return facts


def figure(candidate):
    if OPTIONS.get("log"):
        with open(OPTIONS["log"], "a") as log:
            log.write(candidate["arch"] + "\n")
    if OPTIONS.get("fails_on") and OPTIONS["fails_on"] in candidate["arch"]:
        misbehave(OPTIONS["fault"])
    misbehave(FAULT)
    assert os.path.getsize(candidate["onnx"]) > 0 and candidate["graph"]["cost"]["params"] >= 0
    say(method="progress", params={"fraction": 0.5})
    say(method="log", params={"level": "debug", "message": "half of it"})
    time.sleep(OPTIONS.get("sleep_s", 0))
    value = len(candidate["graph"]["nodes"]) * OPTIONS.get("factor", 1)
    if OPTIONS.get("latency"):
        value = candidate["values"][OPTIONS["latency"]]
    return {"value": {"nan": float("nan"), "text": "good", "random": random.random()}.get(FAULT, value)}


def misbehave(fault):
    if fault == "refuse":
        raise Refused(1, "not this one")
    if fault == "crash":
        print("no more memory cards", file=sys.stderr, flush=True)
        os.abort()
    if fault == "hang":
        time.sleep(60)
    if fault == "garbage":
        print("Loading the model", flush=True)
    if fault == "memory":
        STATE["eaten"] = b"x" * (1 << 29)
        time.sleep(60)


def measure(params):
    misbehave(FAULT)
    size = os.path.getsize(params["model"])
    assert hashlib.sha256(open(params["model"], "rb").read()).hexdigest() == params["sha256"]
    base = -1.0 if FAULT == "negative" else size / 1e5
    rounds = [[base * (1 + 0.001 * ((3 * r + n) % 5)) for n in range(params["protocol"]["runs_per_round"])] for r in range(7)]
    return {"rounds_ms": rounds, "load_ms": 12.5, "first_run_ms": 2.0, "energy_mj_per_run": 3.0}


def lower(params):
    genes, scale = params["genotype"], params["scale"]
    misbehave(FAULT)
    if len(genes) != 3 or max(genes) > 3:
        raise Refused(-32602, "no such genotype")
    if OPTIONS.get("fails_on") == genes:
        misbehave(OPTIONS["fault"])
    channels, image = {"full": (8, [3, 8, 8]), "probe": (4, [3, 8, 8]), "thin": (2, [1, 3, 3])}[scale]
    nodes = [{"name": "input", "op": "input", "inputs": []}]

    def add(name, op, *inputs):
        nodes.append({"name": name, "op": op, "inputs": list(inputs)})
        return len(nodes) - 1

    def conv(name, kernel, at):
        window = {"kernel": kernel, "stride": 1, "padding": kernel // 2, "dilation": 1}
        at = add(name + ".conv", {"conv2d": {"out_channels": channels, "window": window, "groups": 1, "bias": False}}, at)
        return add(name + ".relu", {"activation": "relu"}, add(name + ".norm", "batch_norm", at))

    at = conv("stem", 3, 0)
    for layer, gene in enumerate(genes):
        if gene == 3:
            raise Refused(1, "an absent layer")
        at = at if gene == 2 else conv(f"layer{layer}", [3, 1][gene], at)
    at = add("head.pool", "max_pool_" if FAULT == "graph" else "global_avg_pool", at)
    at = add("head.linear", {"linear": {"out_features": 4, "bias": True}}, at)
    return {"graph": {"input": image, "nodes": nodes, "output": at}}


def note(word):
    if OPTIONS.get("log"):
        with open(OPTIONS["log"], "a") as log:
            log.write(word + "\n")


def sample(params):
    note("sample")
    chance = random.Random(params["seed"])
    # No architecture begins with `conv1`.
    return {"genotypes": [[chance.choice([0, 2, 3])] + [chance.randrange(4) for _ in range(2)] for _ in range(params["count"])]}


def mutate(params):
    note("mutate")
    chance = random.Random(params["seed"])
    genotype = params["genotype"]
    genotype[chance.randrange(1, 3)] = chance.randrange(3)
    return {"genotype": genotype}


def ask(params):
    count = params["count"]
    misbehave(FAULT)
    if STATE.setdefault("asked", 0) >= OPTIONS.get("crash_at", 1 << 30):
        marker = OPTIONS["marker"]
        if not os.path.exists(marker):
            open(marker, "w").close()
            misbehave("crash")
    draw = lambda: [STATE["random"].randrange(len(decision["choices"])) for decision in STATE["decisions"]]
    genotypes = [draw() for _ in range(count)]
    if FAULT == "range":
        genotypes[0][0] = 200
    if OPTIONS.get("odd") and STATE["asked"] == 0:
        # Out of range, and the same twice.
        genotypes[0], genotypes[1] = [9] * len(genotypes[0]), genotypes[2]
    STATE["asked"] += count
    return {"genotypes": genotypes}


def tell(params):
    if not isinstance(params["genotype"], list):
        raise Refused(-32602, "no genotype")
    if OPTIONS.get("log"):
        with open(OPTIONS["log"], "a") as log:
            log.write(json.dumps([params["genotype"], params["costs"]]) + "\n")


def answer(method, params):
    if method == "initialize":
        return initialize(params)
    if method == "shutdown":
        return None
    methods = {"device": {"evaluate": measure}, "sampler": {"ask": ask, "tell": tell}}
    methods["space"] = {
        "lower": lower,
        "sample": sample,
        "mutate": mutate,
    }
    found = methods.get(KIND, {"evaluate": lambda params: figure(params["candidate"])}).get(method)
    if found is None:
        if FAULT == "unknown":
            sys.exit(4)
        if FAULT == "polite":
            return "yes"
        raise Refused(-32601, "no method " + method)
    if FAULT == "brittle":
        return found(params)
    try:
        return found(params)
    except (KeyError, TypeError) as error:
        raise Refused(-32602, repr(error))


if FAULT == "start":
    print("no licence", file=sys.stderr, flush=True)
    sys.exit(3)
for line in sys.stdin:
    try:
        request = json.loads(line)
    except ValueError:
        if FAULT == "parse":
            raise
        say(id=None, error={"code": -32700, "message": "no JSON"})
        continue
    try:
        result = answer(request["method"], request.get("params", {}))
    except Refused as error:
        say(id=request["id"], error={"code": error.code, "message": str(error)})
        continue
    if request["method"] == "shutdown" and FAULT == "deaf":
        time.sleep(60)
    say(id=request["id"], result=result)
    if request["method"] == "shutdown":
        sys.exit(7 if FAULT == "farewell" else 0)
