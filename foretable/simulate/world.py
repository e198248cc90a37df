"""The world before anything happens: the calendar, the items, and the users with their hidden traits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretable.simulate.words import BRANDS, CATEGORIES, CITIES, DEVICES, GENDERS, INCOME_BANDS, OCCUPATIONS

Array = NDArray[Any]

START = date(2025, 1, 1)
HORIZON = 30  # days that a label looks ahead, and so how far the calendar is known past the last day

WEEKDAY_TRAFFIC = np.array([1.00, 0.96, 0.94, 0.97, 1.00, 1.07, 1.12])
# name: (month, day, length in days, traffic, urge to buy, discount)
HOLIDAYS = {
    "New Year": (1, 1, 2, 0.75, 0.8, 0.0),
    "Valentine's Day": (2, 10, 5, 1.10, 1.3, 0.05),
    "Spring holiday": (4, 14, 7, 0.90, 1.1, 0.10),
    "Summer holiday": (7, 26, 14, 0.85, 0.9, 0.0),
    "Singles' Day": (11, 10, 2, 1.35, 1.7, 0.20),
    "Black Friday": (11, 24, 7, 1.45, 1.8, 0.25),
    "Christmas season": (12, 5, 17, 1.20, 1.4, 0.0),
    "Christmas": (12, 24, 3, 0.60, 0.6, 0.0),
}

EXISTING_SHARE = 0.60  # of users, registered before the first day
SESSION_RATE = (0.048, 1.15)  # sessions per day of a browsing user: median, sigma of the log
URGE = (0.15, 1.35)  # purchases per session of a user at urge 1: median, sigma of the log
MORTALITY = (2.0, 0.2)  # of the log of a user's hazard relative to others: slope in the log rate, sigma
CHANGED_TRAFFIC = 0.3  # in a shop that changes, from that day on


@dataclass(frozen=True)
class Calendar:
    """What each day brings, for `days + HORIZON` days, and the campaigns behind it."""

    traffic: Array  # (days,) multiplies session rates
    urge: Array  # (days,) multiplies the urge to buy
    discount: Array  # (days,) share off the price
    offer: Array  # (days,) campaign that gives the discount, -1 for none
    ad: Array  # (days,) campaign whose advertisements run
    campaigns: list[tuple[str, int, int, float | None]]  # kind, first day, last day + 1, discount


@dataclass(frozen=True)
class Items:
    """Items ordered by category, and by price within each."""

    category: Array  # index into CATEGORIES
    first: Array  # (categories + 1,) first item of each category
    brand: Array
    noun: Array  # which of the category's nouns
    price: Array
    quality: Array  # standard normal; shows in ratings
    listed: Array  # day, may be negative
    established: Array  # an item of the same category that is listed from the start


@dataclass(frozen=True)
class Users:
    """Users ordered by registration, with the traits that no table shows."""

    registered: Array  # day, may be negative
    rate: Array  # sessions per day while browsing
    urge: Array  # urge to buy per session
    mortality: Array  # multiplies the daily hazard of leaving
    budget: Array  # 0 to 1: where on the price ladder this user shops
    favourites: Array  # (users, 3) categories, best liked first
    device: Array  # mostly used
    taste: Array  # (users, 2), against a brand's style
    profile: dict[str, Array]  # columns of the users table, as codes
    changed: tuple[int, Array] | None = None  # from this day on the urge is another

    def urge_on(self, day: int) -> Array:
        """The urge to buy on a day, of each user."""
        if self.changed is not None and day >= self.changed[0]:
            return self.changed[1]
        return self.urge


def make_calendar(days: int, rng: np.random.Generator) -> Calendar:
    total = days + HORIZON
    dates = [START + timedelta(days=day) for day in range(total)]
    day_of_year = np.array([each.timetuple().tm_yday for each in dates])
    traffic = WEEKDAY_TRAFFIC[[each.weekday() for each in dates]]
    traffic = traffic * (1 + 0.08 * np.cos(2 * np.pi * (day_of_year - 345) / 365))
    urge = np.ones(total)
    discount = np.zeros(total)
    offer = np.full(total, -1)
    ad = np.full(total, -1)
    campaigns: list[tuple[str, int, int, float | None]] = []

    def offer_from(first: int, last: int, share: float) -> None:
        span = slice(max(first, 0), min(last, total))
        better = discount[span] < share
        discount[span] = np.where(better, share, discount[span])
        offer[span] = np.where(better, len(campaigns), offer[span])

    for year in range(dates[0].year, dates[-1].year + 1):
        for month, day, length, more_traffic, more_urge, share in HOLIDAYS.values():
            first = (date(year, month, day) - START).days
            if first >= total:
                continue
            traffic[first : first + length] *= more_traffic
            urge[first : first + length] *= more_urge
            offer_from(first, first + length, share)
            campaigns.append(("holiday", first, first + length, share or None))
    first = int(rng.integers(3, 14))
    while first < total:
        length, share = int(rng.integers(3, 7)), float(rng.choice([0.10, 0.15, 0.20, 0.30]))
        traffic[first : first + length] *= 1 + 0.6 * share
        urge[first : first + length] *= 1 + 2.0 * share
        offer_from(first, first + length, share)
        campaigns.append(("promotion", first, first + length, share))
        first += int(rng.integers(16, 28))
    for first in range(0, total, 14):
        ad[first : first + 14] = len(campaigns)
        campaigns.append(("ad", first, first + 14, None))
    return Calendar(traffic, urge, discount, offer, ad, campaigns)


def make_items(users: int, days: int, rng: np.random.Generator) -> Items:
    per_category = int(np.clip(0.7 * np.sqrt(users), 5, 800))
    categories = len(CATEGORIES)
    count = categories * per_category
    category = np.repeat(np.arange(categories), per_category)
    first = np.arange(categories + 1) * per_category
    typical = np.array([price for price, _, _ in CATEGORIES.values()])
    ladder = np.sort(rng.normal(0, 0.55, (categories, per_category)), axis=1).ravel()
    listed = np.where(rng.random(count) < 0.8, -rng.integers(1, 900, count), rng.integers(1, days, count))
    listed[first[:-1]] = np.minimum(listed[first[:-1]], -1)  # every category has something from the start
    # The nearest cheaper item that is listed from the start stands in for one that is not there yet.
    old = np.where(listed < 0, np.arange(count), 0)
    return Items(
        category=category,
        first=first,
        brand=rng.integers(0, len(BRANDS), count),
        noun=rng.integers(0, 3, count),
        price=np.round(typical[category] * np.exp(ladder), 2),
        quality=rng.standard_normal(count),
        listed=listed,
        established=np.maximum.accumulate(old),
    )


def make_users(count: int, days: int, rng: np.random.Generator) -> Users:
    existing = max(1, round(EXISTING_SHARE * count))
    registered = np.sort(np.concatenate([
        -1 - (rng.exponential(300, existing) % 1500).astype(int),
        ((days - 1) * rng.beta(1.0, 1.7, count - existing)).astype(int),  # most of them early on
    ]))  # fmt: skip
    budget_score, rate_score, urge_score = rng.standard_normal((3, count))
    urge_score = 0.93 * urge_score + 0.25 * budget_score + 0.25 * rng.standard_normal(count)
    rate = np.minimum(SESSION_RATE[0] * np.exp(SESSION_RATE[1] * rate_score), 1.6)
    return Users(
        registered=registered,
        rate=rate,
        urge=URGE[0] * np.exp(URGE[1] * urge_score),
        mortality=(rate / SESSION_RATE[0]) ** MORTALITY[0] * np.exp(MORTALITY[1] * rng.standard_normal(count)),
        budget=_rank_of_normal(budget_score),
        favourites=rng.permuted(np.tile(np.arange(len(CATEGORIES)), (count, 1)), axis=1)[:, :3],
        device=rng.choice(len(DEVICES), count, p=[0.6, 0.32, 0.08]),
        taste=rng.standard_normal((count, 2)),
        profile=_make_profile(budget_score, rate_score, rng),
    )


def change(users: Users, calendar: Calendar, day: int) -> tuple[Users, Calendar]:
    """The world of a shop whose behaviour changes: from `day` on less traffic, and whoever was keen to buy is not.

    Each urge is mirrored at the median, so that as many users as before are as keen as before.
    """
    traffic = np.where(np.arange(len(calendar.traffic)) >= day, CHANGED_TRAFFIC * calendar.traffic, calendar.traffic)
    return replace(users, changed=(day, URGE[0] ** 2 / users.urge)), replace(calendar, traffic=traffic)


def _make_profile(budget_score: Array, rate_score: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Columns of the users table as codes, -1 for missing: weak hints of budget and rate."""
    count = len(budget_score)
    income_score = 0.8 * budget_score + 0.6 * rng.standard_normal(count)
    columns = {
        "birth_year": np.clip(1984 + 4 * rate_score + 12 * rng.standard_normal(count), 1935, 2006).astype(int),
        "gender": rng.choice(len(GENDERS), count, p=[0.52, 0.45, 0.03]),
        "city": rng.integers(0, len(CITIES), count),
        "occupation": rng.integers(0, len(OCCUPATIONS), count),
        "income_band": np.clip((_rank_of_normal(income_score) * len(INCOME_BANDS)).astype(int), 0, 4),
    }
    for name in ("birth_year", "gender", "occupation", "income_band"):
        columns[name][rng.random(count) < 0.05] = -1
    return columns


def _rank_of_normal(score: Array) -> Array:
    """Standard normal scores to (0, 1), by the logistic approximation of the normal distribution."""
    return 1 / (1 + np.exp(-1.702 * score))
