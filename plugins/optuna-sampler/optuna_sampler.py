"""A sampler that is Optuna's: ask and tell, one categorical parameter for each decision, costs minimised, violations as constraints.

It goes on in rounds: all of a round is asked of Optuna at once, and told to it in that order when the last outcome of it is there. So what it proposes
depends on the seed and on what was told, not on the order of telling or on how many trials run at once.
"""
import json
import random
import sys

try:
    import optuna
    from optuna.trial import TrialState
except ImportError as missing:
    optuna, MISSING = None, missing

MOST_DRAWS = 200  # of Optuna, for a genotype that it has not proposed before


class Unusable(Exception):
    """Nothing can be proposed here at all."""


class Sampler:
    def initialize(self, params):
        if optuna is None:
            raise Unusable(f"{sys.executable} has no Optuna: {MISSING} (pip install 'optuna>=5')")
        if not hasattr(optuna.trial.Trial, "set_constraint"):
            raise Unusable(f"{sys.executable} has Optuna {optuna.__version__}, expected 5 or later (pip install 'optuna>=5')")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        options, seed = params.get("options") or {}, params["seed"] % 2**32
        self.round = int(options.get("round", 12))
        if self.round < 2:
            raise ValueError(f"round is {self.round}: expected 2 or more")
        self.names = [f"{place}. {decision['name']}" for place, decision in enumerate(params["decisions"])]
        self.choices = [len(decision["choices"]) for decision in params["decisions"]]
        self.distributions = {
            # The gene's values are the choices: text would only be looked up again.
            name: optuna.distributions.CategoricalDistribution(range(count))
            for name, count in zip(self.names, self.choices)
        }
        self.study = optuna.create_study(
            sampler=algorithm(options.get("algorithm", "nsga2"), self.round, seed),
            directions=["minimize"] * len(params["objectives"]),
        )
        self.draw = random.Random(seed)
        self.asked = set()  # every genotype so far
        self.queue = []  # of this round, not handed out yet
        self.trials = {}  # of this round, by genotype, in the order of asking
        self.outcomes = {}  # what was told of this round
        return {"protocol": 1, "name": "optuna-sampler", "version": "0.1.0", "capabilities": []}

    def ask(self, params):
        if not self.trials:
            self.begin_round()
        count = params["count"]
        given, self.queue = self.queue[:count], self.queue[count:]
        return {"genotypes": given}

    def begin_round(self):
        for _ in range(self.round):
            genotype, trial = self.propose()
            if genotype is None:
                break  # nothing new is left
            self.asked.add(genotype)
            self.trials[genotype] = trial
            self.queue.append(list(genotype))

    def propose(self):
        for _ in range(MOST_DRAWS):
            trial = self.study.ask(self.distributions)
            genotype = tuple(trial.params[name] for name in self.names)
            if genotype not in self.asked:
                return genotype, trial
            self.study.tell(trial, state=TrialState.FAIL)  # its outcome is known, and stays out of the population
        for _ in range(100 * MOST_DRAWS):
            genotype = tuple(self.draw.randrange(count) for count in self.choices)
            if genotype not in self.asked:
                return genotype, self.trial_of(genotype)
        return None, None

    def trial_of(self, genotype):
        """A trial of Optuna's with these genes."""
        self.study.enqueue_trial(dict(zip(self.names, genotype)))
        return self.study.ask(self.distributions)

    def tell(self, params):
        genotype = tuple(params["genotype"])
        if len(genotype) != len(self.names):
            raise ValueError(f"{len(genotype)} genes, expected {len(self.names)}")
        costs = params["costs"]
        if costs is not None and len(costs) != len(self.study.directions):
            raise ValueError(f"{len(costs)} costs, expected {len(self.study.directions)}")
        if genotype in self.trials or genotype not in self.asked:
            self.outcomes[genotype] = (costs, params.get("violation") or 0.0)
        if self.trials and all(genotype in self.outcomes for genotype in self.trials):
            self.end_round()
        return None

    def end_round(self):
        # What was drawn elsewhere stands behind, by its genes: the order of telling is to mean nothing.
        for genotype in [*self.trials, *sorted(set(self.outcomes) - set(self.trials))]:
            costs, violation = self.outcomes[genotype]
            trial = self.trials.get(genotype) or self.trial_of(genotype)
            self.asked.add(genotype)
            if costs is None:
                self.study.tell(trial, state=TrialState.FAIL)
            else:
                trial.set_constraint("violation", violation)
                self.study.tell(trial, costs)
        self.trials, self.outcomes = {}, {}


def algorithm(name, population, seed):
    samplers = {
        "nsga2": lambda: optuna.samplers.NSGAIISampler(population_size=population, seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(multivariate=True, n_startup_trials=population, seed=seed),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    if name not in samplers:
        raise ValueError(f"algorithm `{name}`: expected one of {', '.join(samplers)}")
    return samplers[name]()


def main():
    sampler = Sampler()
    methods = {
        "initialize": sampler.initialize, "ask": sampler.ask, "tell": sampler.tell, "shutdown": lambda _params: None,
    }
    for line in sys.stdin.buffer:
        reply, method = {"jsonrpc": "2.0", "id": None}, None
        try:
            request = json.loads(line)
            reply["id"], method = request["id"], request["method"]
            reply["result"] = methods[method](request.get("params"))
        except Unusable as error:
            reply["error"] = {"code": 1, "message": str(error)}
        except Exception as error:
            code = -32602 if method in methods else -32601 if method else -32700
            reply["error"] = {"code": code, "message": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
        if method == "shutdown":
            return


main()
