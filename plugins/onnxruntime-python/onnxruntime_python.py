"""A device that measures ONNX models through Python's onnxruntime.

One session a model. Inputs are drawn once and bound, so that a timed run copies nothing: warm-up until two windows agree, then rounds until
their medians are steady enough or the budget is spent. Tegu makes the figure and its interval from the rounds.
"""
import gc
import hashlib
import json
import math
import statistics
import sys
import time

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as missing:
    np, ort, MISSING = None, None, missing

LEVELS = {"none": "ORT_DISABLE_ALL", "basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED", "all": "ORT_ENABLE_ALL"}
MOST_RUNS = 256  # in a round
WINDOW_RUNS = 5  # in a window of the warm-up


class Refused(Exception):
    """This model can't be measured."""


class Device:
    def initialize(self, params):
        if ort is None:
            raise Refused(f"{sys.executable} can't measure: {MISSING} (pip install onnxruntime numpy)")
        options = params.get("options") or {}
        self.provider = options.get("execution_provider", "CPUExecutionProvider")
        self.provider_options = options.get("provider_options") or {}
        self.level = LEVELS.get(options.get("graph_optimization", "all"))
        if self.level is None:
            raise Refused(f"graph_optimization: expected one of {', '.join(LEVELS)}")
        if self.provider not in ort.get_available_providers():
            raise Refused(f"no {self.provider} here, expected one of {', '.join(ort.get_available_providers())}")
        ort.set_default_logger_severity(3)
        return {
            "protocol": 1, "name": "onnxruntime-python", "version": "0.1.0", "capabilities": [],
            "runtime": "onnxruntime", "runtime_version": ort.__version__, "execution_provider": self.provider,
        }

    def evaluate(self, params):
        path, protocol = params["model"], params["protocol"]
        try:
            with open(path, "rb") as file:
                model = file.read()
        except OSError as error:
            raise Refused(f"can't read the model: {error}") from error
        if hashlib.sha256(model).hexdigest() != params["sha256"]:
            raise Refused(f"{path} has another SHA-256 than {params['sha256']}")
        started = time.perf_counter()
        session = self.session(model, params.get("threads"))
        load_s = time.perf_counter() - started
        run = bound(session, params.get("batch") or 1, protocol.get("seed", 0))
        first_run_s = timed(run)
        run_s = warm_up(run, protocol)
        rounds = measure(run, run_s, protocol)
        milliseconds = [[1e3 * second for second in seconds] for seconds in rounds]
        return {"rounds_ms": milliseconds, "load_ms": 1e3 * load_s, "first_run_ms": 1e3 * first_run_s}

    def session(self, model, threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: one on each core
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, self.level)
        if self.provider != "CPUExecutionProvider":
            # A node that the provider can't run is an error, and not silently the CPU's.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            return ort.InferenceSession(model, options, providers=[(self.provider, self.provider_options)])
        except Exception as error:
            raise Refused(f"onnxruntime can't load it: {error}") from error


def bound(session, batch, seed):
    """A function that runs the session on inputs drawn from `seed`."""
    draw, binding = np.random.default_rng(seed), session.io_binding()
    for tensor in session.get_inputs():
        dims = [batch if place == 0 and not isinstance(dim, int) else dim for place, dim in enumerate(tensor.shape)]
        if not all(isinstance(dim, int) for dim in dims):
            raise Refused(f"input `{tensor.name}` leaves a size open: {tensor.shape}")
        types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
        if tensor.type not in types:
            raise Refused(f"input `{tensor.name}` is a {tensor.type}, expected one of {', '.join(types)}")
        whole = tensor.type == "tensor(uint8)"
        values = draw.integers(0, 256, dims) if whole else draw.standard_normal(dims)
        binding.bind_cpu_input(tensor.name, values.astype(types[tensor.type]))
    for tensor in session.get_outputs():
        binding.bind_output(tensor.name)
    return lambda: session.run_with_iobinding(binding)


def timed(run):
    started = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started) * 1e-9


def warm_up(run, protocol):
    """Runs until the medians of two windows agree, or the time is over; seconds of a run."""
    end, before = time.perf_counter() + protocol.get("warm_up_s", 1.0), None
    while True:
        now = statistics.median(timed(run) for _ in range(WINDOW_RUNS))
        agree = before is not None and abs(now - before) <= protocol.get("warm_up_agreement", 0.02) * now
        if agree or time.perf_counter() > end:
            return now
        before = now


def measure(run, run_s, protocol):
    """Rounds of runs, in seconds."""
    fewest, most = protocol.get("rounds", 7), protocol.get("max_rounds", 40)
    runs = max(protocol.get("runs_per_round", 10), math.ceil(protocol.get("min_round_s", 0.01) / max(run_s, 1e-9)))
    budget_s = protocol.get("budget_s", 5.0)
    # No more than fit the budget, so that the fewest rounds do not take many times as long.
    runs = max(1, min(runs, MOST_RUNS, int(budget_s / fewest / max(run_s, 1e-9))))
    rounds, spent_s = [], 0.0
    gc.disable()
    try:
        while len(rounds) < most:
            for _ in range(protocol.get("untimed_runs", 2)):
                run()
            rounds.append([timed(run) for _ in range(runs)])
            spent_s += sum(rounds[-1])
            notify("progress", fraction=len(rounds) / most)
            if len(rounds) >= fewest and (spent_s > budget_s or half_width(rounds) <= protocol.get("target_half_width", 0.01)):
                break
    finally:
        gc.enable()
    return rounds


def half_width(rounds):
    """Half of the 95 % interval of the median of the rounds' medians, relative; normal approximation, to know when to stop."""
    medians = [statistics.median(seconds) for seconds in rounds]
    error = 1.2533 * statistics.stdev(medians) / math.sqrt(len(medians))
    return 1.96 * error / statistics.median(medians)


def notify(method, **params):
    print(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}), flush=True)


def main():
    device = Device()
    methods = {"initialize": device.initialize, "evaluate": device.evaluate, "shutdown": lambda _params: None}
    for line in sys.stdin.buffer:
        reply, method = {"jsonrpc": "2.0", "id": None}, None
        try:
            request = json.loads(line)
            reply["id"], method = request["id"], request["method"]
            reply["result"] = methods[method](request.get("params"))
        except Refused as error:
            reply["error"] = {"code": 1, "message": str(error)}
        except Exception as error:
            code = -32602 if method in methods else -32601 if method else -32700
            reply["error"] = {"code": code, "message": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
        if method == "shutdown":
            return


main()
