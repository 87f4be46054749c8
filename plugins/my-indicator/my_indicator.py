"""How many convolutions lie on the average path from input to output: a network behaves like an ensemble of its paths (arXiv:1605.06431)."""
import json
import sys


def initialize(_params):
    return {"protocol": 1, "name": "my-indicator", "version": "0.1.0", "capabilities": [], "direction": "maximize"}


def evaluate(params):
    graph = params["candidate"]["graph"]
    paths, layers = [], []  # from the input to each node, and on all of them; nodes stand behind those that they read
    for node in graph["nodes"]:
        paths.append(sum(paths[i] for i in node["inputs"]) or 1)
        layers.append(sum(layers[i] for i in node["inputs"]) + ("conv2d" in node["op"]) * paths[-1])
    return {"value": layers[graph["output"]] / paths[graph["output"]]}


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
