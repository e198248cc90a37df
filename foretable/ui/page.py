"""The page itself, run by Streamlit anew at every click, from run_page.py."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from foretable.serving import strangers
from foretable.serving.offers import Offer
from foretable.serving.scoring import Row, ScoringFile, stamp_of
from ibis_features.errors import ForetableError
from ibis_features.schema import NUMERIC

LISTED = 500
"""Rows of the table at most."""
ITEMS = 20
"""Of an entity's list at most."""
CHOICES = 100
"""Values of a category to choose from at most."""
LIMITS = strangers.Limits(rows=1_000)


def main(path: Path) -> None:
    st.set_page_config(page_title="foretable", layout="wide")
    file = opened(str(path), stamp_of(path))
    if not file.offers:
        st.title("foretable")
        st.info(f"{path.name} holds no predictions; build some with `foretable build`")
        return
    with st.sidebar:
        st.header("foretable")
        st.caption(path.name)
        name = st.selectbox("Prediction", list(file.offers), key="prediction")
        offer = file.offer(name)
        containing = st.text_input(f"{offer.entity} contains", key="containing")
        summary = file.summary(offer)
        ends = (0.0, 1.0) if offer.is_probability else score_range(summary)
        key = "between" if offer.is_probability else f"between_{ends}"
        low, high = st.slider("Score between", *ends, ends, key=key)
    show_summary(offer, summary)
    scores, what_if = st.columns([3, 2], gap="large")
    with scores:
        entity = show_scores(file, offer, containing, low, high, most=ends[1])
    with what_if:
        if entity is not None and offer.item is not None:
            show_items(file, offer, entity)
        elif entity is not None:
            show_entity(file, offer, entity)
    show_sql(path, offer)


@st.cache_resource(max_entries=1, show_spinner=False)
def opened(path: str, stamp: tuple[int, int, int]) -> ScoringFile:
    """The file, opened anew once another has taken its place."""
    return ScoringFile(Path(path))


def score_range(summary: Row) -> tuple[float, float]:
    """From the least score to the greatest, whole numbers; a slider needs two that differ."""
    low, high = math.floor(summary["least"] or 0.0), math.ceil(summary["greatest"] or 0.0)
    return float(low), float(max(high, low + 1))


def show_summary(offer: Offer, summary: Row) -> None:
    st.title(offer.name)
    rows, as_of, version = st.columns(3)
    rows.metric("Rows scored", f"{summary['row_count']:,}")
    as_of.metric("As of", str(summary["as_of"] or "never")[:10])
    version.metric("Version", summary["version"])


def show_scores(file: ScoringFile, offer: Offer, containing: str, low: float, high: float, *, most: float) -> object:
    """The table of scores, drawn as shares of `most`; returns the entity that is looked at, None without a row."""
    rows = file.ranked(offer.name, containing=containing, low=low, high=high, most=LISTED)
    st.subheader("Scores")
    if not rows:
        st.info("No row is left: widen the score's range or shorten the text.")
        return None
    entities = list(dict.fromkeys(row[offer.entity] for row in rows))
    chosen = st.dataframe(
        rows,
        hide_index=True,
        height=420,
        on_select="rerun",
        selection_mode="single-row",
        key=f"table_{offer.name}_{containing}_{low}_{high}",
        column_order=[column for column in rows[0] if column not in ("version", "as_of")],
        column_config={"score": st.column_config.ProgressColumn("score", format="%.3f", min_value=0, max_value=most)},
    )
    st.caption(f"The first {len(rows):,} by rank; click the left edge of a row to look at it.")
    places = chosen["selection"]["rows"]
    return st.selectbox(
        offer.entity,
        entities,
        index=entities.index(rows[places[0]][offer.entity]) if places else 0,
        key=f"entity_{offer.name}_{containing}_{low}_{high}_{places}",
    )


def show_items(file: ScoringFile, offer: Offer, entity: object) -> None:
    """The entity's list, best first, and why an item of it stands where it does."""
    st.subheader(f"The list of {entity}")
    items = file.recommended(offer.name, entity, ITEMS)["items"]
    listed = [{"item_rank": one["item_rank"], offer.item: one["item"], "score": one["score"]} for one in items]
    st.dataframe(listed, hide_index=True, column_config={"score": st.column_config.NumberColumn(format="%.4f")})
    st.caption(f"The first {len(items):,} by rank.")
    if not offer.has_reasons:
        st.info("The table has no reasons; with reasons=3 in the prediction's config, a build writes them.")
        return
    by_item = {one["item"]: one["reasons"] or [] for one in items}
    item = st.selectbox(f"Why this {offer.item}", list(by_item), key=f"item_{offer.name}_{entity}")
    show_reasons(by_item[item])


def show_entity(file: ScoringFile, offer: Offer, entity: object) -> None:
    st.subheader(f"Why {entity}")
    try:
        reasons = file.reasons(offer.name, entity)["reasons"] or []
        show_reasons(reasons)
    except ForetableError as error:
        st.info(str(error))
    st.subheader("What if")
    try:
        features = file.features(offer.name, entity, dict.fromkeys(offer.left_out))
    except ForetableError as error:
        st.info(str(error))
        return
    changeable = [feature for feature in offer.features if not offer.features[feature].endswith("]")]
    if not changeable:
        st.info("All its features are lists, which cannot be changed here.")
        return
    feature = st.selectbox("Feature", changeable, key=f"feature_{offer.name}")
    value = asked_value(file, offer, entity, feature, features[feature])
    before = file.score_row(offer.name, features)["score"]
    after = file.score_row(offer.name, {**features, feature: value})["score"]
    st.metric("Score", f"{after:.4f}", f"{after - before:+.4f}" if after != before else None, delta_color="off")
    st.caption("What the model says of the changed row, not what a change in the world would bring about.")
    if offer.left_out:
        st.caption(f"The file leaves out {', '.join(offer.left_out)}: both scores take them for missing.")


def show_reasons(reasons: list[Mapping[str, Any]]) -> None:
    for reason in reasons:
        st.text(reason.get("sentence") or f"{reason['feature']}: {reason['contribution']:+.2f}")
    st.bar_chart(
        [{"feature": reason["feature"], "contribution": reason["contribution"]} for reason in reasons],
        x="feature",
        y="contribution",
        horizontal=True,
        height=60 + 40 * len(reasons),
        x_label="",
        y_label="contribution in log-odds",
        sort=False,
    )


def asked_value(file: ScoringFile, offer: Offer, entity: object, feature: str, value: Any) -> Any:
    """A field for the feature's value, by its type; it begins with the value that was scored."""
    kind, key = offer.features[feature], f"value_{offer.name}_{entity}_{feature}"
    if kind != "BOOLEAN" and NUMERIC.match(kind):
        return st.number_input("Value", value=None if value is None else float(value), format="%g", key=key)
    known = [True, False] if kind == "BOOLEAN" else file.values(offer.name, feature, CHOICES)
    choices = [*dict.fromkeys([value, *known, None])]
    return st.selectbox("Value", choices, format_func=lambda one: "missing" if one is None else str(one), key=key)


def show_sql(path: Path, offer: Offer) -> None:
    st.subheader("SQL")
    with st.form("question"):
        sql = st.text_area(
            "One SELECT; the file is open for reading alone.",
            f"select * from {offer.table}\norder by score desc\nlimit 5",
            key=f"sql_{offer.name}",
        )
        is_asked = st.form_submit_button("Run")
    if not is_asked:
        return
    answer = strangers.ask(path, sql, LIMITS)
    found = json.loads(answer.body)
    if "error" in found:
        st.error(found["error"])
        return
    more = f"the first {LIMITS.rows:,} rows" if found["has_more"] else f"{len(found['rows'])} rows"
    st.dataframe(found["rows"], hide_index=True, column_order=found["columns"])
    st.caption(more)
