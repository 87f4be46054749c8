"""A small table to search, made up: `python3 tests/data/samplers_truth.py > tests/data/samplers_truth.csv`.

All 243 strings of five digits 0 to 2: an accuracy whose layers depend on their neighbours, a latency, and an estimate of the
accuracy that counts the neighbours too little.
"""
import itertools

print("arch,accuracy,latency_ms,estimate")
for genes in itertools.product(range(3), repeat=5):
    gain = sum((5 * g + (g * g * 13 + i * 41) % 19) / 10 for i, g in enumerate(genes))
    pairs = sum((1, -1, 1)[a] for a, b in zip(genes, genes[1:]) if a == b)
    latency = 1 + sum(((g * 53 + i * 29) % 17 + 4 * g) / 10 for i, g in enumerate(genes))
    print("".join(map(str, genes)), f"{80 + gain - 0.8 * pairs:.2f}", f"{latency:.2f}", f"{80 + gain - 0.5 * pairs:.2f}", sep=",")
