"""The arrow of imports, and what no module may do."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ["ibis_features", "models_ml", "udfs", "foretable"]
"""Each may import itself and those before it."""
HEAVY = [
    "dbt",
    "tensorflow",
    "keras",
    "xgboost",
    "lightgbm",
    "sklearn",
    "duckdb",
    "ibis",
    "numpy",
    "pandas",
    "pyarrow",
    "rich",
    "matplotlib",
    "mlflow",
    "fastapi",
    "uvicorn",
    "streamlit",
]
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
UNPICKLING = {"read_pickle", "to_pickle", "load_model", "unsafe_load", "full_load", "allow_pickle=True"}
"""What other libraries call it: pandas, Keras, PyYAML and NumPy."""


def modules(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """The top-level names of all absolute imports, wherever they stand."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_only_point_inwards(layer: str) -> None:
    outer = set(LAYERS[LAYERS.index(layer) + 1 :])
    assert modules(layer)
    wrong = {
        str(file.relative_to(ROOT)): sorted(found)
        for file in modules(layer)
        if (found := imported(ast.parse(file.read_text(encoding="utf-8"))) & outer)
    }
    assert not wrong


def test_imports_of_the_arrow_are_seen() -> None:
    assert imported(ast.parse("def f():\n    from foretable.cli import main\n    import udfs.progress")) == {
        "foretable",
        "udfs",
    }


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_is_pickled_or_evaluated(layer: str) -> None:
    wrong = []
    for file in modules(layer):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        wrong += [f"{file.relative_to(ROOT)} imports {name}" for name in imported(tree) & FORBIDDEN_MODULES]
        wrong += [
            f"{file.relative_to(ROOT)}:{node.lineno} calls {node.func.id}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS
        ]
        wrong += [f"{file.relative_to(ROOT)} unpickles by {name}" for name in unpickling(tree)]
    assert not wrong


def unpickling(tree: ast.AST) -> set[str]:
    """The calls by which other libraries would unpickle or run what a file says."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}
    named |= {f"{word.arg}={ast.unparse(word.value)}" for node in calls for word in node.keywords}
    return named & UNPICKLING


def test_unpickling_by_other_libraries_is_seen() -> None:
    assert unpickling(ast.parse("np.load(f, allow_pickle=True)\nkeras.models.load_model(f)\nnp.load(f)")) == {
        "allow_pickle=True",
        "load_model",
    }


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from foretable.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "main(['build', '--help'], standalone_mode=False)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stderr.strip() == "[]"


def test_help_comes_in_under_a_second() -> None:
    times = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "foretable", "--help"], capture_output=True, check=True, cwd=ROOT)
        times.append(time.monotonic() - started)
    assert min(times) < 1.0
