"""Search the params of a model by Optuna, within a budget and with pruning.

Source: Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework",
https://arxiv.org/abs/1907.10902.

The draws of a trial follow from the seed, its number and the trials before it, so that a search that was interrupted
goes on as if it had not been.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from ibis_features import ConfigError, Examples, ExamplesError
from models_ml.fitting import fit_spec
from models_ml.judging import scored
from models_ml.kinds import LOWER_IS_BETTER, lists_of
from models_ml.search_space import Space, Tune, search_space
from models_ml.spec import PredictionSpec
from models_ml.trainer import GivenUpError, Progress, trainer

if TYPE_CHECKING:
    import optuna

COMPLETE, PRUNED = "complete", "pruned"
TRIALS_BEFORE_PRUNING = 5


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    params: what was searched; the first trial has none, and so those of the config: Optuna is not told of it.
    losses: on the validation rows after each round or epoch. value: of the metric on the validation rows; None where
    the trial was pruned.
    """

    number: int
    params: Mapping[str, Any]
    losses: Sequence[float]
    value: float | None
    state: str
    seconds: float


def check_search(spec: PredictionSpec) -> None:
    """Raises ConfigError where the search cannot be done: params out of bounds, or no Optuna."""
    if spec.tune is None:
        return
    search_space(spec.model, spec.params or {}, spec.tune)
    if find_spec("optuna") is None:
        raise ConfigError("tune needs Optuna for its search: pip install 'foretable[tune]'")


def search(
    spec: PredictionSpec, parts: Mapping[str, Examples], known: Sequence[Trial], *, progress: Progress
) -> Iterator[Trial]:
    """Each new trial when it is done, until the budget is spent; `known` are those of before, in their order."""
    assert spec.tune is not None
    tune, study = spec.tune, _study(spec)
    distributions = _distributions(spec)
    trials = list(known)
    for trial in trials:
        if trial.params:
            study.add_trial(_frozen(trial, tune, distributions))
    while not tune.is_spent(len(trials), sum(trial.seconds for trial in trials)):
        number = len(trials)
        progress_of_trial = _of_trial(progress, number, tune.trials)
        if number == 0:
            trial = _run(spec, parts, number, None, progress_of_trial)
        else:
            study.sampler = _sampler(spec.seed, number)
            asked = study.ask(distributions)
            trial = _run(spec, parts, number, asked, progress_of_trial)
            told = _objective(trial, tune) if trial.state == COMPLETE else None
            study.tell(asked, told, state=_states()[trial.state])
        trials.append(trial)
        yield trial


def best_trial(trials: Sequence[Trial], tune: Tune) -> Trial:
    """The complete trial with the best metric, the first of those that are alike."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    return min(complete, key=lambda trial: (_objective(trial, tune), trial.number))


def _run(
    spec: PredictionSpec,
    parts: Mapping[str, Examples],
    number: int,
    asked: "optuna.Trial | None",
    progress: Progress,
) -> Trial:
    assert spec.tune is not None
    started = time.monotonic()
    params: Mapping[str, Any] = asked.params if asked is not None else {}
    losses: list[float] = []

    def observe(step: int, loss: float) -> None:
        losses.append(float(loss))
        if asked is not None:
            asked.report(losses[-1], step)
            if asked.should_prune():
                raise GivenUpError

    value, state = None, PRUNED
    try:
        fitted = fit_spec(
            spec,
            parts["train"],
            parts["validate"],
            params={**(spec.params or {}), **params},
            progress=progress,
            observe=observe,
        )
        labels, scores = scored(fitted, parts["validate"])
        lists = lists_of(parts["validate"])
        value, state = spec.of_kind.value(spec.tune.metric, labels, scores, lists=lists), COMPLETE
        if np.isnan(value):
            raise ExamplesError(
                f"tune metric {spec.tune.metric} is not defined on the validation rows, whose labels are all alike; "
                "take another metric, or more validate_snapshots"
            )
    except GivenUpError:
        pass
    return Trial(number, dict(params), losses, value, state, time.monotonic() - started)


def _study(spec: PredictionSpec) -> "optuna.Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=trainer(spec.model).WARM_UP
    )
    return optuna.create_study(direction="minimize", pruner=pruner, sampler=_sampler(spec.seed, 0))


def _sampler(seed: int, number: int) -> "optuna.samplers.TPESampler":
    """A sampler for one trial: one that has drawn before would draw otherwise after an interruption."""
    import optuna

    return optuna.samplers.TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def _distributions(spec: PredictionSpec) -> dict[str, Any]:
    assert spec.tune is not None
    bounds = trainer(spec.model).BOUNDS
    space: Space = search_space(spec.model, spec.params or {}, spec.tune)
    return {name: _distribution(one, isinstance(bounds[name][0], int)) for name, one in space.items()}


def _distribution(one: Mapping[str, Any], is_whole: bool) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choices" in one:
        return CategoricalDistribution(one["choices"])
    kind = IntDistribution if is_whole else FloatDistribution
    return kind(one["low"], one["high"], log=one.get("log", False))


def _frozen(trial: Trial, tune: Tune, distributions: Mapping[str, Any]) -> "optuna.trial.FrozenTrial":
    """A trial that was run before, as Optuna keeps it."""
    import optuna

    return optuna.trial.create_trial(
        state=_states()[trial.state],
        value=_objective(trial, tune) if trial.state == COMPLETE else trial.losses[-1],
        params=dict(trial.params),
        distributions={name: distributions[name] for name in trial.params},
        intermediate_values=dict(enumerate(trial.losses)),
    )


def _objective(trial: Trial, tune: Tune) -> float:
    """The metric of a complete trial, or its negative: lower is better."""
    assert trial.value is not None
    return trial.value if tune.metric in LOWER_IS_BETTER else -trial.value


def _states() -> dict[str, "optuna.trial.TrialState"]:
    import optuna

    return {COMPLETE: optuna.trial.TrialState.COMPLETE, PRUNED: optuna.trial.TrialState.PRUNED}


def _of_trial(progress: Progress, number: int, trials: int) -> Progress:
    return lambda step, share: progress(f"trial {number + 1} of {trials}", (number + share) / trials)
