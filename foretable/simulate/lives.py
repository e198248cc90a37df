"""What users do, day by day: hidden states, sessions and decisions to buy; and what that makes true.

Each user is in one of four states (fading, browsing, shopping, satiated) and moves between them at the end of each
day; a purchase leads to `satiated`. At the start of each day a user may leave for good. On a day in state x a user
who has not left has Poisson(rate * STATE_RATE[x] * traffic) sessions, and each of them ends in a purchase,
independently, with probability 1 - exp(-urge * STATE_URGE[x] * the day's urge).
Nothing else decides on events or purchases, so that their true probabilities follow exactly by backward recursion
(`true_probabilities`). On the day of registration there is exactly one session, and nobody leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from foretable.simulate.world import HORIZON, Array, Calendar, Users

FADING, BROWSING, SHOPPING, SATIATED, GONE = range(5)
STATE_RATE = np.array([1.0, 1.0, 1.1, 1.0])
STATE_URGE = np.array([0.2, 0.9, 1.6, 0.6])
STATE_HAZARD = np.array([0.08, 0.0, 0.0, 0.0])  # of leaving, per day: who leaves has lost interest before
START_SHARES = np.array([0.01, 0.59, 0.24, 0.16])
MOVES = np.array(  # from state (row) to state (column) at the end of a day without a purchase
    [
        [0.9380, 0.0600, 0.0020, 0.0000],
        [0.0002, 0.9938, 0.0060, 0.0000],
        [0.0002, 0.0100, 0.9898, 0.0000],
        [0.0002, 0.0120, 0.0030, 0.9848],
    ]
)
TRUTH_FROM_DAY = 30
FAVOURITE_SHARES = np.array([0.50, 0.27, 0.13])  # of sessions; the rest go to any category
_USERS_AT_ONCE = 4096


@dataclass(frozen=True)
class Sessions:
    """One row per session, ordered by day, then user, then order within the day."""

    user: Array
    day: Array
    number: Array  # 0.. within the user's day
    of: Array  # sessions in the user's day
    state: Array
    chance: Array  # of a purchase, as it was before the decision
    bought: Array
    registers: Array  # whether this is the session in which the user registers
    mission: Array  # category that a shopping user is after


@dataclass(frozen=True)
class Truth:
    """True probabilities for the users (by index, from `day`'s midnight on) that had an event before."""

    user: Array
    day: Array
    purchased: Array
    churned: Array


def live(
    users: Users, calendar: Calendar, *, days: int, rng: np.random.Generator, progress: Callable[[float], None]
) -> tuple[Sessions, Array]:
    """Live through `days` days; the second result is each user's state at each midnight, (days, users) of int8."""
    count = len(users.rate)
    everyone = np.arange(count)
    state = rng.choice(4, count, p=START_SHARES).astype(np.int8)
    mission = draw_category(users, everyone, rng)
    history = np.empty((days, count), np.int8)
    thresholds = np.cumsum(MOVES, axis=1)[:, :3].T.copy()  # (3, from)
    hazard = np.append(STATE_HAZARD, 0.0)
    rate_of = np.append(STATE_RATE, 0.0)
    urge_of = np.append(STATE_URGE, 0.0)
    rows: list[tuple[Array, ...]] = []
    for day in range(days):
        history[day] = state
        here = int(np.searchsorted(users.registered, day, side="right"))  # users are ordered by registration
        now = state[:here]
        arrives = users.registered[:here] == day
        draws = rng.random((2, here))
        leaves = (draws[0] < np.minimum(hazard[now] * users.mortality[:here], 0.5)) & ~arrives
        now[leaves] = GONE
        sessions = rng.poisson(users.rate[:here] * rate_of[now] * calendar.traffic[day])
        sessions[arrives] = 1
        active = np.flatnonzero(sessions)
        active_state = now[active]
        chance = -np.expm1(-users.urge_on(day)[active] * urge_of[active_state] * calendar.urge[day])
        purchases = rng.binomial(sessions[active], chance)
        rows.append((active, sessions[active], purchases, active_state.copy(), chance, mission[active]))
        # The draw that decides the move: how many thresholds of the state's row it passes.
        alive = now != GONE
        column = np.where(alive, now, 0)
        moved = (draws[1] >= thresholds[:, column]).sum(axis=0).astype(np.int8)
        moved[active[purchases > 0]] = SATIATED
        moved[~alive] = GONE
        starting = np.flatnonzero((moved == SHOPPING) & (now != SHOPPING))
        mission[starting] = draw_category(users, starting, rng)
        state[:here] = moved
        progress((day + 1) / days)
    return _one_row_per_session(rows, users, rng), history


def draw_category(users: Users, who: Array, rng: np.random.Generator) -> Array:
    """A category for each of `who`: one of the favourites mostly."""
    pick = np.searchsorted(np.cumsum(FAVOURITE_SHARES), rng.random(len(who)), side="right")
    anything = users.favourites[rng.integers(0, len(users.rate), len(who)), 0]
    return np.where(pick < 3, users.favourites[who, np.minimum(pick, 2)], anything)


def _one_row_per_session(rows: list[tuple[Array, ...]], users: Users, rng: np.random.Generator) -> Sessions:
    day = np.repeat(np.arange(len(rows)), [len(row[0]) for row in rows])
    user, sessions, purchases, state, chance, mission = (np.concatenate(column) for column in zip(*rows, strict=True))
    lines = np.repeat(np.arange(len(user)), sessions)
    number = np.arange(len(lines)) - np.repeat(np.cumsum(sessions) - sessions, sessions)
    turn = rng.integers(0, 1 << 30, len(user))  # which of the day's sessions buy does not depend on their order
    bought = (number + turn[lines]) % sessions[lines] < purchases[lines]
    return Sessions(
        user=user[lines],
        day=day[lines],
        number=number,
        of=sessions[lines],
        state=state[lines],
        chance=chance[lines],
        bought=bought,
        registers=users.registered[user[lines]] == day[lines],
        mission=mission[lines],
    )


def true_probabilities(
    users: Users, calendar: Calendar, sessions: Sessions, history: Array, *, progress: Callable[[float], None]
) -> Truth:
    """The probability of a purchase, and of no event at all, in [midnight, midnight + HORIZON) given the state then.

    With N_d(x) the probability that nothing of the kind happens from day d to the end of the horizon for a user in
    state x at the start of d: N_d(x) = hazard_x + (1 - hazard_x) * quiet_d(x) * sum over y of MOVES[x, y] * N_{d+1}(y),
    and N = 1 at the end and for users who have left.
    """
    days, count = history.shape
    first_event = np.full(count, days)
    np.minimum.at(first_event, sessions.user, sessions.day)
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
    for first in range(0, count, _USERS_AT_ONCE):
        chunk = slice(first, first + _USERS_AT_ONCE)
        parts += list(_truth_of_chunk(users, calendar, history, first_event, chunk))
        progress(min(1.0, (first + _USERS_AT_ONCE) / count))
    user, day, purchased, churned = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((user, day))
    return Truth(user[order], day[order], purchased[order], churned[order])


def _truth_of_chunk(
    users: Users, calendar: Calendar, history: Array, first_event: Array, chunk: slice
) -> Iterator[tuple[Array, Array, Array, Array]]:
    rate = STATE_RATE[:, None] * users.rate[chunk]  # (states, users)
    hazard = np.minimum(STATE_HAZARD[:, None] * users.mortality[chunk], 0.5)
    known = first_event[chunk]
    # Per day: the probability of a quiet day, alive; (days, states, users). One minus the hazard is folded in.
    staying = 1 - hazard
    total = len(calendar.traffic)
    no_purchase = np.empty((total, *rate.shape))
    no_event = np.empty((total, *rate.shape))
    for day in range(total):
        sessions = rate * calendar.traffic[day]
        urge = STATE_URGE[:, None] * users.urge_on(day)[chunk]
        np.exp(-sessions, out=no_event[day])
        np.exp(sessions * np.expm1(-urge * calendar.urge[day]), out=no_purchase[day])
    no_event *= staying
    no_purchase *= staying
    for as_of in range(TRUTH_FROM_DAY, len(history)):
        # Users are ordered by registration, so that those not there yet form the tail.
        here = int(np.searchsorted(users.registered[chunk], as_of, side="left"))
        who = np.flatnonzero(known[:here] < as_of)
        if not len(who):
            continue
        state = history[as_of, chunk][who]
        outcome = []
        for quiet in (no_purchase, no_event):
            nothing = np.ones((4, here))
            for day in range(as_of + HORIZON - 1, as_of - 1, -1):
                nothing = MOVES @ nothing
                nothing *= quiet[day, :, :here]
                nothing += hazard[:, :here]
            outcome.append(np.where(state == GONE, 1.0, nothing[np.minimum(state, SATIATED), who]))
        yield who + chunk.start, np.full(len(who), as_of), 1 - outcome[0], outcome[1]
