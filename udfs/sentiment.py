"""The sentiment of a text, as a function of SQL: `foretable_sentiment(text)`.

VADER (Hutto and Gilbert, 2014) reads English by a lexicon and a few rules: negation, boosters, "but", capitals. Its
lexicon comes with the package, so that nothing is fetched and the same text gives the same number on every machine.
"""

from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

FUNCTION = "foretable_sentiment"
READ_LENGTH = 2000
"""Characters of a text that are read: VADER's time grows with the square of the number of words that it knows."""


def register_sentiment(con: duckdb.DuckDBPyConnection) -> None:
    """Create `foretable_sentiment(VARCHAR) -> DOUBLE`, which belongs to the database instance.

    From -1 (worst) to 1 (best) in steps of 0.0001, and 0 where no word of the lexicon occurs; NULL for NULL and for
    blanks. Of a long text the first 2,000 characters count.
    """
    text, number = duckdb.sqltype("VARCHAR"), duckdb.sqltype("DOUBLE")
    con.create_function(FUNCTION, sentiments, [text], number, type="arrow", null_handling="special")  # type: ignore[call-overload]


def sentiments(texts: Any) -> pa.Array:
    """The sentiment of each text of an Arrow array of strings, as an array of doubles of the same length.

    >>> sentiments(pa.array(["I love it", "It broke. Terrible!", None])).to_pylist()
    [0.6369, -0.7345, None]
    """
    return pa.array([sentiment(text) for text in texts.to_pylist()], pa.float64())


def sentiment(text: str | None) -> float | None:
    """VADER's compound score of a text's first 2,000 characters; None for None and for blanks."""
    if text is None or not text.strip():
        return None
    return float(_analyzer().polarity_scores(text[:READ_LENGTH])["compound"])


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
