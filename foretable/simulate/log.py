"""Turn sessions into the events a shop would log: clean ones, and the reviews written beside them.

Events are columns of codes: a dict of equally long arrays, where -1 (or NaN) stands for NULL.
Any two events of a user are at least SPACING_MS apart, and no session runs past its day's midnight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foretable.simulate.lives import SHOPPING, Sessions, draw_category
from foretable.simulate.words import BRANDS, CHANNELS, DEVICES, QUERY_FORMS, TYPE_CODE
from foretable.simulate.world import SESSION_RATE, Array, Calendar, Items, Users

Columns = dict[str, Array]

DAY_MS = 86_400_000
SPACING_MS = 6_000
_OPENS_MS, _CLOSES_MS = 6 * 3_600_000, DAY_MS - 60_000  # sessions lie between these times of day
LEISURE = 1.2  # views more, in a session of the median user
_MOST_VIEWS = 14
# Position of an event in its session: views come at 100, 110, 120, ... with what follows from each behind it.
_REGISTER, _IMPRESSION, _CLICK, _SEARCH, _VIEW, _FAVOURITE, _CART = 0, 1, 2, 3, 100, 1, 2
_REMOVE, _PURCHASE, _SHARE, _RETURN = 900, 910, 990, 1000


@dataclass(frozen=True)
class Purchases:
    """One row per line of an order, kept for the returns and reviews that may follow."""

    session: Array
    item: Array
    order: Array
    quantity: Array
    price: Array


@dataclass(frozen=True)
class _Plan:
    """What each session looks at and does; one row per session but for the `view_` columns, one row per view."""

    category: Array
    keen: Array  # how keen a session is shows in how much it looks at, for how long, and in what it puts in the cart
    shelf: Array  # where on the category's price ladder it looks
    views: Array
    carts: Array  # the last views go into the cart
    lines: Array  # the last of those are bought
    removes: Array  # the first of those are removed
    order: Array
    view_session: Array
    view_number: Array
    view_item: Array
    view_price: Array
    view_quantity: Array

    def last_views(self, how_many: Array) -> tuple[Array, Array]:
        """The last views of each session, from the last one back: (session, view)."""
        session = np.repeat(np.arange(len(how_many)), how_many)
        return session, np.cumsum(self.views)[session] - 1 - _number_within(how_many)

    def first_view(self, session: Array, skip: Array | int = 0) -> Array:
        return (np.cumsum(self.views) - self.views)[session] + skip


def make_events(
    users: Users, items: Items, calendar: Calendar, sessions: Sessions, *, seed: int
) -> tuple[Columns, Columns]:
    """The clean events, ordered by session and time, and the reviews."""
    rng = np.random.default_rng((seed, 4))
    count = len(sessions.user)
    plan = _plan_sessions(users, items, calendar, sessions, rng)
    bought_session, bought_view = plan.last_views(plan.lines)
    purchases = Purchases(
        session=bought_session,
        item=plan.view_item[bought_view],
        order=plan.order[bought_session],
        quantity=plan.view_quantity[bought_view],
        price=plan.view_price[bought_view],
    )
    sees_ad = rng.random(count) < 0.16
    blocks = [
        *_blocks_around(items, calendar, sessions, plan, sees_ad=sees_ad, rng=rng),
        *_blocks_of_items(calendar, sessions, plan, purchases, rng),
    ]
    events = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    ordering = np.argsort(events["session"] * 2048 + events.pop("position"), kind="stable")
    events = {name: column[ordering] for name, column in events.items()}
    session = events["session"]
    events["user"] = sessions.user[session]
    device = np.where(rng.random(count) < 0.2, rng.integers(0, len(DEVICES), count), users.device[sessions.user])
    channel = rng.choice(len(CHANNELS), count, p=[0.36, 0.3, 0.14, 0.1, 0.1])
    events["device"] = device[session]
    events["channel"] = np.where(sees_ad, CHANNELS.index("ads"), channel)[session]
    events["occurred"] = _times(sessions, events, rng)
    events["loaded"] = events["occurred"] + rng.integers(5_000, 300_001, len(session))
    first_event = np.searchsorted(session, np.arange(count))
    return events, _reviews(users, items, sessions, purchases, events["occurred"][first_event], seed=seed)


def _plan_sessions(
    users: Users, items: Items, calendar: Calendar, sessions: Sessions, rng: np.random.Generator
) -> _Plan:
    count = len(sessions.user)
    keen = np.sqrt(np.minimum(sessions.chance, 0.6))
    category = np.where(sessions.state == SHOPPING, sessions.mission, draw_category(users, sessions.user, rng))
    # Who comes rarely looks at more at a time.
    leisure = LEISURE * (users.rate[sessions.user] / SESSION_RATE[0]) ** -0.7
    views = np.minimum(1 + rng.poisson(1.2 * keen + leisure), _MOST_VIEWS)
    lines = np.where(sessions.bought, 1 + (rng.random(count) < 0.22) + (rng.random(count) < 0.08), 0)
    views = np.maximum(views, lines)
    abandoned = (rng.random((2, count)) < np.minimum(2.6 * sessions.chance, 0.85)).sum(axis=0)
    carts = np.minimum(lines + abandoned, views)
    # Views of one session are neighbours on the price ladder of its category; the popular ones are cheap.
    shelf = np.clip(users.budget[sessions.user] + 0.22 * rng.standard_normal(count), 0, 0.999)
    shelf = np.where(rng.random(count) < 0.35, 0.999 * rng.random(count) ** 2.5, shelf)
    session = np.repeat(np.arange(count), views)
    item = _pick_item(items, category[session], shelf[session], sessions.day[session], rng)
    return _Plan(
        category=category,
        keen=keen,
        shelf=shelf,
        views=views,
        carts=carts,
        lines=lines,
        removes=rng.binomial(carts - lines, 0.25),
        order=np.cumsum(lines > 0) - 1,
        view_session=session,
        view_number=_number_within(views),
        view_item=item,
        view_price=np.round(items.price[item] * (1 - calendar.discount[sessions.day[session]]), 2),
        view_quantity=1.0 + rng.poisson(0.12, len(item)),
    )


def _blocks_around(
    items: Items, calendar: Calendar, sessions: Sessions, plan: _Plan, *, sees_ad: Array, rng: np.random.Generator
) -> Iterator[Columns]:
    """Registering, advertisements and searches: what comes before a session's views."""
    count = len(sessions.user)
    yield _block("register", np.flatnonzero(sessions.registers), _REGISTER)
    item, campaign = _pick_item(items, plan.category, plan.shelf, sessions.day, rng), calendar.ad[sessions.day]
    seen, clicked = np.flatnonzero(sees_ad), np.flatnonzero(sees_ad & (rng.random(count) < 0.35))
    yield _block("impression", seen, _IMPRESSION, item=item[seen], campaign=campaign[seen])
    yield _block("click", clicked, _CLICK, item=item[clicked], campaign=campaign[clicked])
    searched = np.flatnonzero(rng.random(count) < 0.18 + 0.5 * plan.keen)
    yield _block("search", searched, _SEARCH, query=_pick_query(plan.category[searched], rng))


def _blocks_of_items(
    calendar: Calendar, sessions: Sessions, plan: _Plan, purchases: Purchases, rng: np.random.Generator
) -> Iterator[Columns]:
    """Views, and all that is done with an item."""
    count = len(sessions.user)
    offer = calendar.offer[sessions.day]
    item, price, quantity = plan.view_item, plan.view_price, plan.view_quantity
    patience = 45 * (sessions.chance / 0.1) ** 0.35
    dwell = np.round(2 + patience[plan.view_session] * rng.gamma(5.0, 0.2, len(item)), 1)
    yield _block("view", plan.view_session, _VIEW + 10 * plan.view_number, item=item, price=price, duration=dwell)
    session = np.flatnonzero(rng.random(count) < 0.02 + 0.25 * plan.keen)
    yield _block("favourite", session, _VIEW + _FAVOURITE, item=item[plan.first_view(session)])
    session, view = plan.last_views(plan.carts)
    position = _VIEW + 10 * plan.view_number[view] + _CART
    columns = {"item": item[view], "price": price[view], "quantity": quantity[view]}
    yield _block("cart", session, position, **columns, campaign=offer[session])
    session = np.repeat(np.arange(count), plan.removes)
    view = plan.first_view(session, skip=(plan.views - plan.carts)[session] + _number_within(plan.removes))
    yield _block("remove", session, _REMOVE, item=item[view], quantity=quantity[view])
    bought = {
        "item": purchases.item,
        "price": purchases.price,
        "quantity": purchases.quantity,
        "order": purchases.order,
    }
    yield _block("purchase", purchases.session, _PURCHASE, **bought, campaign=offer[purchases.session])
    session = np.flatnonzero(rng.random(count) < 0.02)
    yield _block("share", session, _SHARE, item=item[plan.first_view(session)])
    returned, session = _later_sessions(sessions, purchases.session, 0.07, (2, 25), rng)
    yield _block("return", session, _RETURN, **{name: column[returned] for name, column in bought.items()})


def _block(event_type: str, session: Array, position: Array | int, **columns: Array) -> Columns:
    """Rows of one event type, with NULL in the columns that are not given."""
    rows = len(session)
    block = {"session": session, "type": np.full(rows, TYPE_CODE[event_type])}
    block["position"] = np.broadcast_to(position, rows)
    for name, null in (("item", -1), ("order", -1), ("query", -1), ("campaign", -1)):
        block[name] = columns.get(name, np.full(rows, null))
    for name in ("price", "quantity", "duration"):
        block[name] = columns.get(name, np.full(rows, np.nan))
    return block


def _pick_item(items: Items, category: Array, shelf: Array, day: Array, rng: np.random.Generator) -> Array:
    """An item near `shelf` (0 to 1 on the category's price ladder) that is listed by `day`."""
    place = np.clip(shelf + 0.06 * rng.standard_normal(len(shelf)), 0, 0.999)
    size = items.first[category + 1] - items.first[category]
    item = items.first[category] + (place * size).astype(np.int64)
    return np.where(items.listed[item] < day, item, items.established[item])


def _pick_query(category: Array, rng: np.random.Generator) -> Array:
    """Code of a search: category, one of its nouns, the form of the query, and a brand."""
    count = len(category)
    noun, form = rng.integers(0, 3, count), rng.integers(0, len(QUERY_FORMS), count)
    brand = rng.integers(0, len(BRANDS), count)
    return ((category * 3 + noun) * len(QUERY_FORMS) + form) * len(BRANDS) + brand


def _number_within(counts: Array) -> Array:
    """0, 1, ... within each group of the given sizes."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def _times(sessions: Sessions, events: Columns, rng: np.random.Generator) -> Array:
    """Milliseconds since the first day's midnight. Sessions of one user on one day take turns in equal slots."""
    session, count = events["session"], len(sessions.user)
    if not len(session):
        return np.zeros(0, np.int64)
    pause = 1_000 * rng.exponential(9.0, len(session))
    extra = np.where(np.isnan(events["duration"]), pause, 1_000 * events["duration"])
    first = np.searchsorted(session, np.arange(count))
    events_of = np.diff(np.append(first, len(session)))
    slot = (_CLOSES_MS - _OPENS_MS) // sessions.of
    # Shorten what would not fit into the slot; the spacing itself always does.
    total = np.add.reduceat(extra, first)
    room = 0.9 * slot - SPACING_MS * events_of
    extra *= np.minimum(1, room / np.maximum(total, 1))[session]
    before = np.cumsum(extra) - extra
    elapsed = (before - before[first][session]).astype(np.int64)
    elapsed += SPACING_MS * (np.arange(len(session)) - first[session])
    length = (np.minimum(total, room)).astype(np.int64) + SPACING_MS * events_of + 1
    start = (rng.beta(2.0, 1.4, count) * (slot - length)).astype(np.int64)
    start += sessions.day * DAY_MS + _OPENS_MS + sessions.number * slot
    return start[session] + elapsed


def _later_sessions(
    sessions: Sessions, of: Array, share: float, days_after: tuple[int, int], rng: np.random.Generator
) -> tuple[Array, Array]:
    """For a `share` of the sessions in `of`, a later session of the same user: (index into of, session).

    Users with no session in the days after get none: nothing happens outside sessions.
    """
    soonest, latest = days_after
    chosen = np.flatnonzero(rng.random(len(of)) < share)
    by_user = np.lexsort((np.arange(len(sessions.user)), sessions.user))
    days = int(sessions.day.max()) + 2 + latest if len(sessions.day) else 1
    key = sessions.user[by_user].astype(np.int64) * days + sessions.day[by_user]
    wanted = sessions.user[of[chosen]].astype(np.int64) * days + sessions.day[of[chosen]]
    found = np.searchsorted(key, wanted + soonest)
    met = found < np.searchsorted(key, wanted + latest, side="right")
    return chosen[met], by_user[found[met]]


def _reviews(
    users: Users, items: Items, sessions: Sessions, purchases: Purchases, starts: Array, *, seed: int
) -> Columns:
    """Reviews of earlier purchases. The rating comes from the item's quality and how well its brand suits the user."""
    rng = np.random.default_rng((seed, 5))
    reviewed, session = _later_sessions(sessions, purchases.session, 0.4, (3, 40), rng)
    user, item = sessions.user[session], purchases.item[reviewed]
    style = rng.standard_normal((len(BRANDS), 2))
    match = (users.taste[user] * style[items.brand[item]]).sum(axis=1) / np.sqrt(2)
    liking = 3.7 + 0.8 * items.quality[item] + 0.6 * match + 0.5 * rng.standard_normal(len(item))
    order = np.argsort(starts[session], kind="stable")
    return {
        name: column[order]
        for name, column in {
            "user": user,
            "item": item,
            "rating": np.clip(np.round(liking), 1, 5).astype(np.int64),
            "created": starts[session] + rng.integers(0, SPACING_MS, len(session)),
            "noun": items.category[item] * 3 + items.noun[item],
            "opening": rng.integers(0, 4, len(session)),
            "verdict": rng.integers(0, 3, len(session)),
            "closing": rng.integers(0, 3, len(session)),
        }.items()
    }
