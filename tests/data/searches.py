"""Makes searches.json: what pymoo's searches reach on continuous problems, for tests/searches.rs.

    pip install pymoo==0.6.2 numba
    python tests/data/searches.py [SAMPLER ...]

NSGA-II, NSGA-III and AGE-MOEA with pymoo's defaults (SBX with probability 0.9 and eta 15, or 1 and 30 for NSGA-III; polynomial
mutation with eta 20) on ZDT1-4, ZDT6 and DTLZ2 with three objectives. For each run the hypervolume of the last population,
up to 1.1 in every objective; `hypervolumes` are those of the seeds from 1 on. Of other samplers than those named, the rows stay.
"""
import json
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from pymoo.algorithms.moo.age import AGEMOEA
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.indicators.hv import HV
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from pymoo.util.ref_dirs import get_reference_directions

# Problem, objectives, population, partitions of the reference directions, generations, seeds.
RUNS = [
    ("zdt1", 2, 100, 99, 250, 5),
    ("zdt2", 2, 100, 99, 250, 5),
    ("zdt3", 2, 100, 99, 250, 5),
    # Many local fronts: what 250 generations of NSGA-III reach differs by 5 % from seed to seed.
    ("zdt4", 2, 100, 99, {"nsga2": 250, "nsga3": 500, "age_moea": 250}, 21),
    ("zdt6", 2, 100, 99, 250, 5),
    ("dtlz2", 3, 92, 12, 250, 15),
]


def run(job):
    algorithm, name, objectives, population, partitions, generations, seed = job
    if algorithm == "nsga2":
        search = NSGA2(pop_size=population)
    elif algorithm == "age_moea":
        search = AGEMOEA(pop_size=population)
    else:
        search = NSGA3(get_reference_directions("das-dennis", objectives, n_partitions=partitions), pop_size=population)
    problem = get_problem(name, n_obj=3) if name == "dtlz2" else get_problem(name)
    result = minimize(problem, search, ("n_gen", generations), seed=seed)
    assert result.algorithm.evaluator.n_eval == population * generations
    return HV(ref_point=np.full(objectives, 1.1))(result.pop.get("F"))


if __name__ == "__main__":
    path = Path(__file__).with_name("searches.json")
    samplers = ("nsga2", "nsga3", "age_moea")
    wanted = sys.argv[1:] or samplers
    old = json.loads(path.read_text()) if path.exists() else []
    found = [row for row in old if row["sampler"] not in wanted]
    with Pool(2) as pool:
        for algorithm in wanted:
            for *row, seeds in RUNS:
                row[-1] = row[-1][algorithm] if isinstance(row[-1], dict) else row[-1]
                # One run takes as long as five of the others.
                seeds = min(seeds, 9) if algorithm == "age_moea" else seeds
                values = pool.map(run, [(algorithm, *row, seed) for seed in range(1, seeds + 1)], chunksize=1)
                name, _, population, partitions, generations = row
                print(algorithm, name, np.mean(values), np.std(values), flush=True)
                found.append({"sampler": algorithm, "problem": name, "population": population, "partitions": partitions,
                              "generations": generations, "hypervolumes": values})
    found.sort(key=lambda row: samplers.index(row["sampler"]))
    text = ",\n".join(json.dumps(row) for row in found)
    path.write_text(f"[\n{text}\n]\n")
