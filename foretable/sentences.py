"""What dbt, DuckDB and Python say when something fails, as one plain sentence: no traceback, no stack of macros."""

import re

_HEADINGS = re.compile(
    r"^(Compilation|Runtime|Database|Dependency|Parsing|Internal|Validation|Project|Profile|Encountered an)?\s*"
    r"(Error|error)( in (model|seed|test|unit_test|macro|snapshot|operation|hook|function|analysis) .*)?:?$"
)
_NOISE = re.compile(r"^(> (in macro|called by)|compiled code at |Python model failed:|\^+$|-+>)")
_RAISED = re.compile(r"^(?:[\w]+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning): (?P<message>.+)$")
_DUCKDB_KIND = re.compile(
    r"^(?:Binder|Catalog|Parser|Conversion|Constraint|Invalid Input|Invalid|IO|Syntax|Dependency|TransactionContext|"
    r"Out of Range|Not implemented|Permission|HTTP|Serialization|Sequence|Interrupt|Mismatch Type|Missing Extension)"
    r" (?:Error|Exception): ",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """One sentence for whatever was raised.

    >>> plain("Binder Error: Referenced column \\"x\\" not found in FROM clause!\\n\\nLINE 1: select x\\n        ^")
    'Referenced column "x" not found in FROM clause!'
    """
    lines = _without_traceback(text.splitlines())
    kept: list[str] = []
    for line in (line.strip() for line in lines):
        if re.match(r"LINE \d+:", line):
            break
        if line and not _HEADINGS.match(line) and not _NOISE.match(line):
            kept.append(line)
    sentence = " ".join(kept)
    sentence = _DUCKDB_KIND.sub("", re.sub(r"^(?:_?duckdb\.)?\w+Exception: ", "", sentence))
    return _translated(sentence) or "it failed without a message; run again with --debug"


def plain_exception(error: BaseException) -> str:
    """One sentence for an exception, with its type where the text alone would say too little."""
    text = plain(str(error)) if str(error).strip() else ""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyError | AttributeError | TypeError | AssertionError | IndexError) or not text:
        return f"something unforeseen happened ({type(error).__name__}: {text}); run again with --debug to see where"
    return text


def _without_traceback(lines: list[str]) -> list[str]:
    """From the last raised exception on, where there is a traceback."""
    if not any(line.strip().startswith("Traceback (most recent call last)") for line in lines):
        return lines
    for place in range(len(lines) - 1, -1, -1):
        raised = _RAISED.match(lines[place].strip())
        if raised:
            return [raised["message"], *lines[place + 1 :]]
    return [line for line in lines if line.strip()][-1:]


def _translated(sentence: str) -> str:
    for pattern, translation in _TRANSLATIONS:
        found = pattern.search(sentence)
        if found:
            names = {name: value or "" for name, value in found.groupdict().items()}
            return translation.format(**names)
    return sentence


_TRANSLATIONS = [
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), translation)
    for pattern, translation in [
        (
            r"No magic bytes found at (?:the )?end of file ['\"](?P<file>[^'\"]+)['\"]",
            "{file} is not a Parquet file although its name says so; write it anew as Parquet, or give it the ending "
            "of what it is (.csv, .jsonl)",
        ),
        (
            r"['\"](?P<file>[^'\"]+)['\"]:? (?:is )?too small to be a Parquet file",
            "{file} is not a Parquet file although its name says so: it is too small to be one; write it anew",
        ),
        (
            r"Could not set lock on file ['\"](?P<file>[^'\"]+)['\"]: Conflicting lock is held in "
            r"(?P<program>.*?) ?\(PID (?P<pid>\d+)\)",
            "another process is using {file} (PID {pid}, {program}); wait for it or close it, or name another file "
            "with --warehouse",
        ),
        (
            r"Could not set lock on file ['\"](?P<file>[^'\"]+)['\"]",
            "another process is using {file}; wait for it or close it, or name another file with --warehouse",
        ),
        (
            r"error when sniffing file ['\"](?P<file>[^'\"]+)['\"]",
            "{file} cannot be read as CSV: no delimiter and quote fit its lines; write it with one header line, the "
            "same number of fields on each line, and UTF-8",
        ),
        (
            r"CSV Error on Line: (?P<line>\d+).*?(?:file|path)[^/'\"]*['\"]?(?P<file>[^\s'\"]+)",
            "{file} cannot be read as CSV from line {line} on; look at that line, its quotes above all",
        ),
        (
            r"(?:file|The file) ['\"](?P<file>[^'\"]+)['\"] exists,? but it is not a valid DuckDB database file",
            "{file} is not a DuckDB file; name another with --warehouse",
        ),
        (
            r"Trying to read a database file with version number (?P<version>\d+)",
            "the warehouse was written by another version of DuckDB (storage version {version}); "
            "read it with that version, or build it anew",
        ),
        (
            r"Out of Memory Error: (?P<what>.*)",
            "DuckDB ran out of memory ({what}); close other programs, or build with --threads 1",
        ),
        (
            r"(?:No space left on device|disk is full|Could not write file .*: File too large)",
            "the disk is full; free some space where the warehouse lies, and build again",
        ),
    ]
]
