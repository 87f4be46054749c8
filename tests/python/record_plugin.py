"""Stands between Tegu and a plugin, and writes down what they say: `> ` before Tegu's lines, `< ` before the plugin's.

Usage: record_plugin.py LOG COMMAND…
"""

import os
import subprocess
import sys
import threading


def main(log_path, command):
    lock = threading.Lock()
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with open(log_path, "ab") as log:

        def write(mark, line):
            with lock:
                log.write(mark + line)
                log.flush()

        def ask():
            for line in sys.stdin.buffer:
                write(b"> ", line)
                try:
                    child.stdin.write(line)
                    child.stdin.flush()
                except BrokenPipeError:
                    return
            child.stdin.close()

        threading.Thread(target=ask, daemon=True).start()
        for line in child.stdout:
            write(b"< ", line)
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    os._exit(child.wait())  # the thread may still be waiting for a line


main(sys.argv[1], sys.argv[2:])
