"""Turn sessions into the events a shop would log: clean ones, and the reviews written beside them.

Events are columns of codes: a dict of equally long arrays, where -1 (or NaN) stands for NULL.
Any two events of a user are at least SPACING_MS apart, and no session runs past its day's midnight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretable.simulate.lives import SHOPPING, Sessions, draw_category
from foretable.simulate.words import BRANDS, CATEGORIES, CHANNELS, DEVICES, QUERY_FORMS, TYPE_CODE
from foretable.simulate.world import SESSION_RATE, Array, Calendar, Items, Users

Columns = dict[str, Array]

DAY_MS = 86_400_000
SPACING_MS = 6_000
_OPENS_MS, _CLOSES_MS = 6 * 3_600_000, DAY_MS - 60_000  # sessions lie between these times of day
LEISURE = 0.7  # views more, in a session of the median user
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


def make_events(
    users: Users, items: Items, calendar: Calendar, sessions: Sessions, *, seed: int
) -> tuple[Columns, Columns]:
    """The clean events, ordered by session and time, and the reviews."""
    rng = np.random.default_rng((seed, 4))
    count = len(sessions.user)
    # How keen a session is shows in how much is looked at, for how long, and in what goes into the cart.
    keen = np.sqrt(np.minimum(sessions.chance, 0.6))
    category = np.where(sessions.state == SHOPPING, sessions.mission, draw_category(users, sessions.user, rng))
    # Who comes rarely looks at more at a time.
    leisure = LEISURE * (users.rate[sessions.user] / SESSION_RATE[0]) ** -0.5
    views = np.minimum(1 + rng.poisson(1.6 * keen + leisure), _MOST_VIEWS)
    lines = np.where(sessions.bought, 1 + (rng.random(count) < 0.22) + (rng.random(count) < 0.08), 0)
    views = np.maximum(views, lines)
    left = (rng.random((2, count)) < np.minimum(2.6 * sessions.chance, 0.85)).sum(axis=0)  # in the cart
    carts = np.minimum(lines + left, views)
    removes = rng.binomial(carts - lines, 0.25)
    impression = rng.random(count) < 0.20
    click = impression & (rng.random(count) < 0.35)
    search = rng.random(count) < 0.18 + 0.5 * keen
    favourite = rng.random(count) < 0.02 + 0.25 * keen
    share = rng.random(count) < 0.02

    # Views of one session are neighbours on the price ladder of its category.
    shelf = np.clip(users.budget[sessions.user] + 0.22 * rng.standard_normal(count), 0, 0.999)
    popular = rng.random(count) < 0.35
    shelf[popular] = 0.999 * rng.random(int(popular.sum())) ** 2.5
    view_session = np.repeat(np.arange(count), views)
    view_number = _number_within(views)
    view_item = _pick_item(items, category[view_session], shelf[view_session], sessions.day[view_session], rng)
    first_view = np.cumsum(views) - views

    def of_last_views(how_many: Array) -> tuple[Array, Array]:
        """The last views of each session, from the last one back: (session, view)."""
        session = np.repeat(np.arange(count), how_many)
        return session, first_view[session] + views[session] - 1 - _number_within(how_many)

    cart_session, cart_view = of_last_views(carts)
    bought_session, bought_view = of_last_views(lines)
    remove_session = np.repeat(np.arange(count), removes)
    remove_view = first_view[remove_session] + (views - carts)[remove_session] + _number_within(removes)
    favourite_session = np.flatnonzero(favourite)
    share_session = np.flatnonzero(share)
    ad_session, click_session = np.flatnonzero(impression), np.flatnonzero(click)
    ad_item = _pick_item(items, category, shelf, sessions.day, rng)

    has_order = lines > 0
    order = np.where(has_order, np.cumsum(has_order) - 1, -1)
    price = items.price[view_item] * (1 - calendar.discount[sessions.day[view_session]])
    price = np.round(price, 2)
    quantity = 1.0 + rng.poisson(0.12, len(view_item))
    purchases = Purchases(
        bought_session, view_item[bought_view], order[bought_session], quantity[bought_view], price[bought_view]
    )
    patience = 45 * (sessions.chance / 0.1) ** 0.35
    dwell = np.round(2 + patience[view_session] * rng.gamma(5.0, 0.2, len(view_item)), 1)
    returned, return_session = _later_sessions(sessions, purchases.session, 0.07, 2, 25, rng)
    offer, ad = calendar.offer[sessions.day], calendar.ad[sessions.day]
    query = _pick_query(category, items, users, sessions, rng)

    register_session = np.flatnonzero(sessions.registers)
    search_session = np.flatnonzero(search)
    blocks = [
        _block("register", register_session, _REGISTER),
        _block("impression", ad_session, _IMPRESSION, item=ad_item[ad_session], campaign=ad[ad_session]),
        _block("click", click_session, _CLICK, item=ad_item[click_session], campaign=ad[click_session]),
        _block("search", search_session, _SEARCH, query=query[search_session]),
        _block("view", view_session, _VIEW + 10 * view_number, item=view_item, price=price, duration=dwell),
        _block("favourite", favourite_session, _VIEW + _FAVOURITE, item=view_item[first_view[favourite_session]]),
        _block(
            "cart", cart_session, _VIEW + 10 * view_number[cart_view] + _CART, item=view_item[cart_view],
            price=price[cart_view], quantity=quantity[cart_view], campaign=offer[cart_session],
        ),
        _block("remove", remove_session, _REMOVE, item=view_item[remove_view], quantity=quantity[remove_view]),
        _block(
            "purchase", purchases.session, _PURCHASE, item=purchases.item, price=purchases.price,
            quantity=purchases.quantity, order=purchases.order, campaign=offer[purchases.session],
        ),
        _block("share", share_session, _SHARE, item=view_item[first_view[share_session]]),
        _block(
            "return", return_session, _RETURN, item=purchases.item[returned], price=purchases.price[returned],
            quantity=purchases.quantity[returned], order=purchases.order[returned],
        ),
    ]  # fmt: skip
    events = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    ordering = np.argsort(events["session"] * 2048 + events.pop("position"), kind="stable")
    events = {name: column[ordering] for name, column in events.items()}
    session = events["session"]
    events["user"] = sessions.user[session]
    other_device = rng.random(count) < 0.2
    device = np.where(other_device, rng.integers(0, len(DEVICES), count), users.device[sessions.user])
    events["device"] = device[session]
    events["channel"] = np.where(impression, 3, rng.choice(len(CHANNELS), count, p=[0.36, 0.3, 0.14, 0.1, 0.1]))[session]
    events["occurred"] = _times(sessions, events, rng)
    events["loaded"] = events["occurred"] + rng.integers(5_000, 300_001, len(session))
    first_event = np.searchsorted(session, np.arange(count))
    return events, _reviews(users, items, sessions, purchases, events["occurred"][first_event], seed=seed)


def _block(event_type: str, session: Array, position: Array | int, **columns: Array) -> Columns:
    """Rows of one event type, with NULL in the columns that are not given."""
    rows = len(session)
    block = {"session": session, "type": np.full(rows, TYPE_CODE[event_type]), "position": np.broadcast_to(position, rows)}
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


def _pick_query(
    category: Array, items: Items, users: Users, sessions: Sessions, rng: np.random.Generator
) -> Array:
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
    sessions: Sessions, of: Array, share: float, soonest: int, latest: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """For a `share` of the sessions in `of`, a later session of the same user, days after: (index into of, session).

    Users with no session in the days after get none: nothing happens outside sessions.
    """
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
    reviewed, session = _later_sessions(sessions, purchases.session, 0.4, 3, 40, rng)
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

