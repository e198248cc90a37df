"""A score as a SQL expression over a model's margin, with the bits that its score map gives."""

from models_ml.calibration import MOST_LOG_ODDS, Calibration
from models_ml.links import IDENTITY, MOST_LOG, Link
from models_ml.score_map import ScoreMap


def score_sql(score_map: ScoreMap | None, margin: str, *, own: str = "_piece") -> str:
    """The score as FLOAT; `margin` is the name of a FLOAT column with the model's own margin.

    Without a map it is the model's own probability. `own` is a name that nothing else in the query has.
    """
    if isinstance(score_map, Link):
        return margin if score_map == IDENTITY else f"exp(least({margin}::DOUBLE, {double(MOST_LOG)}))::FLOAT"
    log_odds = f"{margin}::DOUBLE"
    if isinstance(score_map, Calibration):
        most = double(MOST_LOG_ODDS)
        log_odds = f"least(greatest({_log_odds(score_map, log_odds, own)}, -{most}), {most})"
    return f"(1 / (1 + exp(-({log_odds}))))::FLOAT"


def _log_odds(calibration: Calibration, margin: str, own: str) -> str:
    """`y + slope * (margin - x)` of the piece that the margin lies in: Platt has one piece, isotonic many."""
    lines = zip(calibration.x, calibration.y, calibration.slope, strict=True)
    if len(calibration.x) == 1:
        [(x, y, slope)] = lines
        return f"{double(y)} + {double(slope)} * ({margin} - {double(x)})"
    starts = ", ".join(map(double, calibration.x[1:]))
    of_x, of_y, of_slope = (f"([{', '.join(map(double, values))}])[{own}]" for values in zip(*lines, strict=True))
    piece = f"1 + len(list_filter([{starts}], lambda {own}: {own} <= {margin}))"
    return f"list_transform([{piece}], lambda {own}: {of_y} + {of_slope} * ({margin} - {of_x}))[1]"


def double(value: float) -> str:
    """As DOUBLE to the last bit; a number without quotes would pass through DECIMAL."""
    return f"'{value!r}'::DOUBLE"
