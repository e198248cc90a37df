"""What a report says of a prediction by its kind: of truth values, classes, amounts, times and orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class KindWords:
    """The words of a report that hang on the kind; `{label}` and `{span}` stand for the label and the horizon.

    rate: what the mean label of some rows is called. adds_to: what a contribution is added to. score: the axis of a
    score. use: what scores are for. calibration: how to read that picture; empty where a score means nothing but an
    order. found: the axis of the gain. unit: that of a contribution. is_share: is what is drawn a share, from 0 to 1?
    """

    lead: str
    rate: str
    adds_to: str
    score: str
    use: str
    calibration: str
    gain: str
    lift: str
    found: str
    unit: str
    is_share: bool = False


AMOUNTS = KindWords(
    lead="the <b>{label}</b> that is expected in the {span} after the cut-off instant, as_of",
    rate="mean label",
    adds_to="the score",
    score="score (in the label's unit)",
    use="by the {label} of the {span} after as_of, and to expect so much of a group",
    calibration="On the dotted line a score is what comes on average. A dot is a tenth of the rows.",
    gain="Which share of the whole the highest scores hold; further above the line is better.",
    lift="How many times more each tenth is worth than a row on average.",
    found="gain (share of the sum of all labels)",
    unit="in the score's unit",
)
WORDS: Mapping[str, KindWords] = {
    "binary": KindWords(
        lead="the probability that <b>{label}</b> is true within the {span} after the cut-off instant, as_of",
        rate="event rate",
        adds_to="the log-odds",
        score="score (probability)",
        use="by how likely {label} is within the {span} after as_of, and to expect so many of a group",
        calibration="On the dotted line a score is what happens: of rows with 0.3, three in ten. Dots are tenths.",
        gain="Which share of all true labels the highest scores hold; further above the line is better.",
        lift="How many times more often the label is true in each tenth than overall.",
        found="gain (share of true labels found)",
        unit="log-odds",
        is_share=True,
    ),
    "multiclass": KindWords(
        lead="the probability of each class of <b>{label}</b> within the {span} after the cut-off instant, as_of",
        rate="share of the class",
        adds_to="the margin of the class",
        score="score (probability of the class)",
        use="by which class of {label} is likeliest in the {span} after as_of, and to expect so many of each",
        calibration="On the dotted line a score is what happens: of 0.3, three in ten have the class. Dots are tenths.",
        gain="Which share of all own classes the highest scores of all classes hold; further above the line is better.",
        lift="How many times more often the class is the row's own in each tenth than overall.",
        found="gain (share of own classes found)",
        unit="margin",
        is_share=True,
    ),
    "regression": AMOUNTS,
    "value": KindWords(**{**vars(AMOUNTS), "adds_to": "the logarithm of the score", "unit": "log score"}),
    "time_to_event": KindWords(
        lead="the median of <b>{label}</b>; {span} or more say that it hardly happens within them after as_of",
        rate="event rate",
        adds_to="the logarithm of the score",
        score="probability of the event within the horizon",
        use="by how soon {label} is over, of the {span} after as_of",
        calibration="On the dotted line three in ten of the rows with 0.3 have the event in time. Dots are tenths.",
        gain="Which share of all events the soonest rows hold; further above the line is better.",
        lift="How many times more often the event comes in each tenth, the soonest first, than overall.",
        found="gain (share of events found)",
        unit="log score",
        is_share=True,
    ),
    "ranking": KindWords(
        lead="the items in the order of <b>{label}</b> within the {span} after the cut-off instant, as_of",
        rate="mean relevance",
        adds_to="the score",
        score="score (higher stands further up)",
        use="by {label} within the {span} after as_of; a score tells an order and no more",
        calibration="",
        gain="Which share of all relevance the highest scores of all lists hold; further above the line is better.",
        lift="How many times more relevant each tenth of all rows is than a row on average.",
        found="gain (share of the sum of all labels)",
        unit="in the score's unit",
    ),
}
