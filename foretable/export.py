"""The command that hands a version to another tool's registry. Only click is imported here."""

from __future__ import annotations

from pathlib import Path

import click

from foretable import options


@click.command()
@click.argument("prediction")
@click.option("--to", "tool", type=click.Choice(["mlflow"]), required=True, help="The tool that gets it.")
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="The version.  [default: the one that serves]")
@click.option("--tracking-uri", metavar="URI", help="Where MLflow keeps its runs.  [default: MLflow's own]")
@click.option(
    "--experiment", default="foretable", show_default=True, help="The experiment; it is made where it is not there."
)
@options.warehouse
@options.debug
def export(
    prediction: str, tool: str, version: int | None, tracking_uri: str | None, experiment: str, warehouse: Path
) -> None:
    """Export a version of a prediction as a run of MLflow: config, metrics, fingerprint, artifact and its sha256.

    Metrics are named by split and by who scored: test.model.roc_auc, test.recency.roc_auc. A version that is there
    already is not exported twice.

    \b
    Examples:
        foretable export churn_30d --to mlflow
        foretable export churn_30d --to mlflow --version 3 --tracking-uri http://localhost:5000
    """
    from importlib.util import find_spec

    from foretable.project import Refusal
    from foretable.query import open_reader

    if find_spec(tool) is None:
        raise Refusal("an export to MLflow needs it installed: pip install 'foretable[mlflow]'")
    from foretable.mlflow_runs import export_run, read_version

    with open_reader(warehouse) as con:
        exported = read_version(con, prediction, version)
    run_id, is_new = export_run(exported, tracking_uri=tracking_uri, experiment=experiment)
    done = "is" if is_new else "was exported before as"
    click.echo(f"Version {exported.version} of {prediction} {done} run {run_id} of the experiment '{experiment}'.")
