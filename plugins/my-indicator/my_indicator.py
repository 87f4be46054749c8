"""Counts the paths from input to output: a network of many paths behaves like an ensemble (Veit et al. 2016, arXiv:1605.06431)."""
import json
import math
import sys


def initialize(_params):
    return {"protocol": 1, "name": "my-indicator", "version": "0.1.0", "capabilities": [], "direction": "maximize"}


def evaluate(params):
    graph = params["candidate"]["graph"]
    paths = []  # from the input to each node; nodes stand behind those that they read
    for node in graph["nodes"]:
        paths.append(sum(paths[i] for i in node["inputs"]) if node["inputs"] else 1)
    return {"value": math.log2(paths[graph["output"]])}


METHODS = {"initialize": initialize, "evaluate": evaluate, "shutdown": lambda _params: None}
for line in sys.stdin.buffer:
    reply, method = {"jsonrpc": "2.0", "id": None}, None
    try:
        request = json.loads(line)
        reply["id"], method = request["id"], request["method"]
        reply["result"] = METHODS[method](request.get("params"))
    except Exception as error:
        code = -32602 if method in METHODS else -32601 if method else -32700
        reply["error"] = {"code": code, "message": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
    if method == "shutdown":
        break
