"""What benches/sampler.rs times beside Tegu: pymoo's searches by ask and tell, and moocore's hypervolumes.

    pip install pymoo==0.6.2
    python benches/sampler.py < JOBS

Reads {"searches": [{"sampler", "problem", "population", "partitions", "generations"}], "fronts": [[[cost]]]}, and writes for each
search the microseconds of CPU time an evaluation that ask and tell took, and for each front the milliseconds of its
hypervolume up to 1.1 and of its sorting, and that hypervolume.
"""
import json
import sys
import time

import numpy as np
import pymoo
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.problem import Problem
from pymoo.functions import is_compiled
from pymoo.indicators.hv import HV
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.problems import get_problem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from pymoo.util.ref_dirs import get_reference_directions


class Genes(Problem):
    """Twenty decisions of four choices: the price is their sum, the error counts what differs from place modulo 4."""

    def __init__(self):
        super().__init__(n_var=20, n_obj=2, xl=0, xu=3, vtype=int)

    def _evaluate(self, x, out, *args, **kwargs):
        wanted = np.arange(20) % 4
        out["F"] = np.column_stack([x.sum(axis=1), np.abs(x - wanted).sum(axis=1)]).astype(float)


def overhead(job):
    genes = job["problem"] == "genes"
    problem = Genes() if genes else get_problem(job["problem"])
    options = {"pop_size": job["population"]}
    if genes:
        # As pymoo's guide for integer variables has it.
        options |= {"sampling": IntegerRandomSampling(), "eliminate_duplicates": True,
                    "crossover": SBX(prob=0.9, eta=15, vtype=float, repair=RoundingRepair()),
                    "mutation": PM(eta=20, vtype=float, repair=RoundingRepair())}
    if job["sampler"] == "nsga3":
        options["ref_dirs"] = get_reference_directions("das-dennis", problem.n_obj, n_partitions=job["partitions"])
    algorithm = {"nsga2": NSGA2, "nsga3": NSGA3}[job["sampler"]](**options)
    algorithm.setup(problem, termination=("n_gen", job["generations"]), seed=1, verbose=False)
    spent = 0.0
    while algorithm.has_next():
        start = time.process_time()
        asked = algorithm.ask()
        spent += time.process_time() - start
        algorithm.evaluator.eval(problem, asked)
        start = time.process_time()
        algorithm.tell(infills=asked)
        spent += time.process_time() - start
    return spent / algorithm.evaluator.n_eval * 1e6


def fastest(call):
    times = []
    for _ in range(3):
        start = time.process_time()
        found = call()
        times.append((time.process_time() - start) * 1e3)
    return min(times), found


def front(points):
    points = np.array(points)
    volume, found = fastest(lambda: HV(ref_point=np.full(points.shape[1], 1.1))(points))
    sorting, _ = fastest(lambda: NonDominatedSorting().do(points))
    return {"hypervolume_ms": volume, "sorting_ms": sorting, "hypervolume": found}


jobs = json.load(sys.stdin)
json.dump({"version": pymoo.__version__, "compiled": bool(is_compiled()), "searches": [overhead(job) for job in jobs["searches"]],
           "fronts": [front(points) for points in jobs["fronts"]]}, sys.stdout)
