"""The peers of `benchmarks.sql_scoring`, in an environment of their own, which has nothing of foretable.

sql_scoring_peers.py onnx NETWORK.NPZ THREADS REPEAT   prints the least seconds of ONNX Runtime's turns as JSON
sql_scoring_peers.py orbital OUT.SQL TABLE TREES       writes the SQL of scikit-learn's boosted trees by orbital
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

FEATURES = 40
TRAIN_ROWS = 5_000


def onnx_turns(file: str, threads: str, repeat: str) -> None:
    """`file` holds `inputs`, float32 [rows, features], and `k_<n>` and `b_<n>` of each dense layer."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    arrays = np.load(file)
    depth = sum(name.startswith("k_") for name in arrays.files)
    nodes, hidden = [], "inputs"
    for layer in range(depth):
        nodes.append(helper.make_node("Gemm", [hidden, f"k_{layer}", f"b_{layer}"], [f"sum_{layer}"]))
        hidden = f"hidden_{layer}"
        nodes.append(helper.make_node("Relu" if layer < depth - 1 else "Sigmoid", [f"sum_{layer}"], [hidden]))
    kept = [numpy_helper.from_array(arrays[name], name) for name in arrays.files if name != "inputs"]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "network",
        [tensor("inputs", TensorProto.FLOAT, [None, arrays["inputs"].shape[1]])],
        [tensor(hidden, TensorProto.FLOAT, [None, 1])],
        kept,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {"inputs": arrays["inputs"]}
    session.run(None, inputs)
    seconds, cpu_seconds = [], []
    for _ in range(int(repeat)):
        started, worked = time.perf_counter(), time.process_time()
        session.run(None, inputs)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - worked)
    print(json.dumps({"seconds": min(seconds), "cpu_seconds": min(cpu_seconds)}))


def orbital_sql(file: str, table: str, trees: str) -> None:
    import orbital
    from orbital.types import FloatColumnType
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    rng = np.random.default_rng(0)
    names = [f"value_{place}" for place in range(FEATURES)]
    values = rng.random((TRAIN_ROWS, FEATURES)) * np.arange(1, FEATURES + 1)
    label = rng.random(TRAIN_ROWS) < 0.1 + 0.3 * values[:, 0] * values[:, 1]
    model = GradientBoostingClassifier(n_estimators=int(trees), max_depth=3, random_state=0)
    pipeline = Pipeline([("trees", model)]).fit(values, label)
    parsed = orbital.parse_pipeline(pipeline, features={name: FloatColumnType() for name in names})
    Path(file).write_text(orbital.export_sql(table, parsed, dialect="duckdb"))


TURNS = {"onnx": onnx_turns, "orbital": orbital_sql}

if __name__ == "__main__":
    TURNS[sys.argv[1]](*sys.argv[2:])
