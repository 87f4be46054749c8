"""Makes pareto.json: what pymoo says of small sets of points, for tests/pareto.rs.

    pip install pymoo==0.6.2
    python tests/data/pareto.py

Two sets for each number of objectives from 2 to 5: `cloud`, uniform on a grid of hundredths (ties, equal points, several
fronts), and `front`, near a quarter of a sphere. All of it is minimised. `crowding` is that of `front` (pymoo's, which is the
mean over objectives, times their number; 1e300 is infinite), `contributions` and `igd_plus` are moocore's, which pymoo takes its indicators
from. Hypervolumes are up to 1.1 in every objective.
"""
import json
from pathlib import Path

import moocore
import numpy as np
from pymoo.indicators.hv import HV
from pymoo.indicators.igd_plus import IGDPlus
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

rng = np.random.default_rng(5)
cases = []
for objectives in range(2, 6):
    cloud = rng.integers(0, 101, (40, objectives)) / 100
    cloud[-3:] = cloud[:3]
    direction = np.abs(rng.standard_normal((30, objectives)))
    sphere = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    front = np.round(1 - sphere + 0.1 * rng.random((30, 1)), 4)
    target = np.round(1 - sphere[:20] * 0.98, 4)
    for name, points in (("cloud", cloud), ("front", front)):
        ref = np.full(objectives, 1.1)
        _, ranks = NonDominatedSorting().do(points, return_rank=True)
        # JSON has no infinity.
        crowding = [min(value, 1e300) for value in (calc_crowding_distance(points) * objectives).tolist()]
        cases.append({
            "name": f"{name} of {objectives}",
            "points": points.tolist(),
            "target": target.tolist(),
            "ranks": ranks.tolist(),
            "crowding": crowding if name == "front" else [],
            "hypervolume": HV(ref_point=ref)(points),
            "contributions": moocore.hv_contributions(points, ref=ref, ignore_dominated=False).tolist(),
            "igd_plus": IGDPlus(target)(points),
        })

text = ",\n".join(json.dumps(case) for case in cases)
Path(__file__).with_name("pareto.json").write_text(f"[\n{text}\n]\n")
