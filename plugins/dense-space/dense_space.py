"""A search space: a chain of convolutions whose widths are decisions, and whether each reads the results of layers further up, too.

Widths and connections between any two layers are what a space in YAML can't say.
"""
import json
import random
import sys

# Side and channels of the images, and what widths are divided by: `thin` has no pooling either.
SCALES = {"full": (None, None, 1), "probe": (8, None, 4), "thin": (3, 1, 8)}


class Space:
    def initialize(self, params):
        options = params.get("options") or {}
        self.layers, self.widths = options.get("layers", 5), options.get("widths", [8, 16, 24])
        self.input, self.classes = options.get("input", [3, 32, 32]), options.get("classes", 10)
        pairs = [(before, layer) for layer in range(2, self.layers) for before in range(layer - 1)]
        self.places = {pair: self.layers + place for place, pair in enumerate(pairs)}  # of their genes
        decisions = [{"name": f"width of {layer}", "choices": [str(width) for width in self.widths]} for layer in range(self.layers)]
        decisions += [{"name": f"{before} → {layer}", "choices": ["no", "yes"]} for before, layer in pairs]
        self.choices = [len(decision["choices"]) for decision in decisions]
        return {
            "protocol": 1, "name": "dense-space", "version": "0.1.0", "capabilities": ["sample", "mutate"],
            "decisions": decisions, "input": self.input, "classes": self.classes,
        }

    def lower(self, params):
        genes = params["genotype"]
        if len(genes) != len(self.choices) or any(not 0 <= gene < count for gene, count in zip(genes, self.choices)):
            raise ValueError(f"{genes} is no genotype of {len(self.choices)} decisions")
        side, channels, divisor = SCALES[params["scale"]]
        shape = [channels or self.input[0], side or self.input[1], side or self.input[2]]
        nodes = [{"name": "input", "op": "input", "inputs": []}]

        def add(name, op, *inputs):
            nodes.append({"name": name, "op": op, "inputs": list(inputs)})
            return len(nodes) - 1

        def window(kernel, stride, padding):
            return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": 1}

        results, at = [], 0
        for layer in range(self.layers):
            chosen = [results[before] for before in range(layer - 1) if genes[self.places[before, layer]]]
            if chosen:
                at = add(f"layer{layer}.concat", "concat", at, *chosen)
            width = max(1, self.widths[genes[layer]] // divisor)
            conv = {"out_channels": width, "window": window(3, 1, 1), "groups": 1, "bias": False}
            at = add(f"layer{layer}.conv", {"conv2d": conv}, at)
            at = add(f"layer{layer}.relu", {"activation": "relu"}, add(f"layer{layer}.norm", "batch_norm", at))
            results.append(at)
            if layer == self.layers // 2 and params["scale"] != "thin":
                # All results so far are halved, so that later layers can read them.
                results = [add(f"pool{place}", {"avg_pool": window(2, 2, 0)}, result) for place, result in enumerate(results)]
                at = results[-1]
        at = add("head.linear", {"linear": {"out_features": self.classes, "bias": True}}, add("head.pool", "global_avg_pool", at))
        return {"graph": {"input": shape, "nodes": nodes, "output": at}}

    def sample(self, params):
        """Few connections: each is there once in four times."""
        draw = random.Random(params["seed"])
        widths = self.layers

        def genotype():
            return [draw.randrange(count) if place < widths else int(draw.random() < 0.25) for place, count in enumerate(self.choices)]

        return {"genotypes": [genotype() for _ in range(params["count"])]}

    def mutate(self, params):
        """Another choice at one decision."""
        draw, genes = random.Random(params["seed"]), list(params["genotype"])
        place = draw.choice([place for place, count in enumerate(self.choices) if count > 1])
        genes[place] = draw.choice([gene for gene in range(self.choices[place]) if gene != genes[place]])
        return {"genotype": genes}


def main():
    space = Space()
    methods = {"shutdown": lambda _params: None}
    methods.update({name: getattr(space, name) for name in ("initialize", "lower", "sample", "mutate")})
    for line in sys.stdin.buffer:
        reply, method = {"jsonrpc": "2.0", "id": None}, None
        try:
            request = json.loads(line)
            reply["id"], method = request["id"], request["method"]
            reply["result"] = methods[method](request.get("params"))
        except Exception as error:
            code = -32602 if method in methods else -32601 if method else -32700
            reply["error"] = {"code": code, "message": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
        if method == "shutdown":
            return


main()
