"""Holds a recorded conversation with a plugin, and its manifest, against docs/plugin-protocol.schema.json.

Usage: check_plugin_messages.py SCHEMA MANIFEST.json LOG
LOG has `> ` before Tegu's lines and `< ` before the plugin's (record_plugin.py). A request that was answered by an error may have been meant to
be wrong; all else must be as the schema says. Prints how often each message occurred, and exits with 1 where one is wrong.
"""

import collections
import json
import sys

import jsonschema


def main(schema_path, manifest_path, log_path):
    with open(schema_path) as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)

    def check(name, message):
        validator = jsonschema.Draft202012Validator({"$schema": schema["$schema"], "$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
        error = jsonschema.exceptions.best_match(validator.iter_errors(message))
        assert error is None, f"no {name}: {error.message} at {error.json_path} in {json.dumps(message)[:2000]}"
        counts[name] += 1

    counts = collections.Counter()
    with open(manifest_path) as file:
        manifest = json.load(file)
    check("manifest", manifest)
    kind = {"device": "device", "space": "space", "sampler": "sampler"}.get(manifest["kind"], "figure")
    methods = {
        "initialize": ("initialize", f"result_initialize_{kind}"),
        "evaluate": ("evaluate_model" if kind == "device" else "evaluate_candidate", f"result_evaluate_{kind}"),
        "lower": ("lower", "result_lower"), "sample": ("sample", "result_genotypes"), "mutate": ("mutate", "result_mutate"),
        "ask": ("ask", "result_genotypes"), "tell": ("tell", "result_null"), "shutdown": ("shutdown", "result_null"),
    }
    asked = {}
    with open(log_path, errors="replace") as log:
        for line in log:
            try:
                message = json.loads(line[2:])
            except ValueError:
                assert line.startswith("> "), f"the plugin wrote {line}"
                continue  # the conformance suite's garbage
            if line.startswith("> "):
                asked[message["id"]] = message
            elif "method" in message:
                check("notification", message)
            else:
                check("response", message)
                if "result" in message:
                    request = asked[message["id"]]
                    for name, part in zip(methods[request["method"]], (request, message["result"])):
                        check(name, part)
    for needed in methods["initialize"] + methods["shutdown"]:
        assert counts[needed], f"no {needed} was recorded"
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


try:
    main(*sys.argv[1:])
except AssertionError as error:
    sys.exit(str(error))
