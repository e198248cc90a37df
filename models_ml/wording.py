"""The words for a reason: `bought 3 times in 30 days: +0.21`.

All of them are made here: for the table of a prediction, for `explain_<prediction>` and for the report.
"""

import re

WINDOW = re.compile(r"(?P<what>.+)_(?:(?P<days>\d+)d|(?P<lifetime>lifetime))")
DONE = {
    "view_count": "viewed",
    "search_count": "searched",
    "cart_count": "put into the cart",
    "remove_count": "taken out of the cart",
    "favourite_count": "marked as favourite",
    "purchase_count": "bought",
    "return_count": "returned",
    "click_count": "clicked",
    "impression_count": "shown",
    "share_count": "shared",
    "review_count": "reviewed",
}
"""Counts of what users do, and of what is done with an item: the participle fits both."""
COUNTED = {
    "event_count": ("event", "events"),
    "session_count": ("session", "sessions"),
    "purchase_session_count": ("session with a purchase", "sessions with a purchase"),
    "active_day_count": ("active day", "active days"),
    "distinct_item_count": ("different item", "different items"),
    "distinct_category_count": ("different category", "different categories"),
    "distinct_brand_count": ("different brand", "different brands"),
    "distinct_query_count": ("different query", "different queries"),
    "abandoned_cart_count": ("item left in the cart", "items left in the cart"),
    "open_cart_count": ("item still in the cart", "items still in the cart"),
}
LAST = {
    "recency_days": "active",
    "view_recency_days": "viewed",
    "cart_recency_days": "put into the cart",
    "purchase_recency_days": "bought",
    "review_recency_days": "reviewed",
}


def amount(contribution: float) -> str:
    """What a reason adds to the log-odds, at two decimals.

    >>> amount(0.214), amount(-0.001)
    ('+0.21', '+0.00')
    """
    return f"{round(contribution, 2) + 0.0:+.2f}"


def phrase(feature: str, value: str | None, description: str | None = None, *, is_number: bool = True) -> str:
    """What a feature's value (as text, None where it is missing) says: by its name, else its description.

    A number may be a boolean, true or false. What is no number is shown as it is.

    >>> phrase("purchase_count_30d", "3")
    'bought 3 times in 30 days'
    >>> phrase("recency_days", "1")
    'last active 1 day ago'
    >>> phrase("weekend_share_90d", "0.25", "Share of the events on weekends in the 90 days before as_of.")
    'share of the events on weekends in the 90 days is 25%'
    >>> phrase("shoe_size", None)
    'shoe size is missing'
    """
    said = _by_name(feature, value) if is_number else None
    return said or _said(description or _spelled(feature), _shown(feature, value) if is_number else value)


def _by_name(feature: str, value: str | None) -> str | None:
    """Counts and days since the last time, in the families of names that every shop has."""
    if last := LAST.get(feature):
        return f"never {last}" if value is None else f"last {last} {_counted(value, 'day', 'days')} ago"
    window = WINDOW.fullmatch(feature)
    if window is None or value is None:
        return None
    what, span = window["what"], _span(window)
    if what in DONE:
        done, number = DONE[what], _number(value)
        often = {"0": f"not {done}", "1": f"{done} once"}.get(number, f"{done} {number} times")
        return f"{often} {span}"
    return f"{_counted(value, *COUNTED[what])} {span}" if what in COUNTED else None


def _said(description: str, shown: str | None) -> str:
    """A description as the subject of a sentence. Of several parts the first one counts."""
    subject = re.split(r"[;.](?:\s|$)", description.strip())[0]
    subject = re.sub(r",? (?:before as_of|of the version valid at as_of)\b", "", subject)
    subject = subject.replace("up to as_of", "so far")
    if not subject[1:2].isupper():
        subject = subject[:1].lower() + subject[1:]
    if subject.startswith("whether ") and shown in ("yes", "no"):
        subject = subject.removeprefix("whether ")
        return subject if shown == "yes" else f"not so: {subject}"
    return f"{subject} is {'missing' if shown is None else shown}"


def _spelled(feature: str) -> str:
    """A name in words, its window included."""
    window = WINDOW.fullmatch(feature)
    words = f"{window['what']} {_span(window)}" if window else feature
    return words.replace("_", " ").strip() or feature


def _span(window: re.Match[str]) -> str:
    if window["lifetime"]:
        return "so far"
    return "in 1 day" if window["days"] == "1" else f"in {window['days']} days"


def _counted(value: str, one: str, many: str) -> str:
    number = _number(value)
    return f"{number} {one if number == '1' else many}"


def _shown(feature: str, value: str | None) -> str | None:
    if value is None:
        return None
    if value in ("true", "false"):
        return "yes" if value == "true" else "no"
    window = WINDOW.fullmatch(feature)
    if (window["what"] if window else feature).endswith("_share"):
        return f"{float(value):.0%}"
    return _number(value)


def _number(value: str) -> str:
    """At three digits, a whole number with all of them."""
    number = float(value)
    return f"{number:,.0f}" if number == round(number) or abs(number) >= 1000 else f"{number:.3g}"
