"""The command `foretable features`. Only click is imported here."""

from __future__ import annotations

from pathlib import Path

import click

from foretable import options

SHOWN = ("feature", "type", "owner", "version", "has history", "description")


@click.command()
@click.argument("entity", required=False)
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="dbt's manifest.json.  [default: what the last build recorded in the warehouse]",
)
@options.warehouse
@options.debug
def features(entity: str | None, form: str, manifest: Path | None, warehouse: Path) -> None:
    """List the features (of one ENTITY) with type, description, owner, version and lineage.

    `has history` is false where a feature shows an attribute as it is today, not as it was at as_of. The lineage is in
    --format json.

    \b
    Examples:
        foretable features
        foretable features user --format json
    """
    import csv
    import json
    import sys

    import ibis_features

    with ibis_features.open(warehouse, manifest=manifest) as store:
        listed = store.features(entity)
    if form == "json":
        click.echo(json.dumps([one.to_json() for one in listed], indent=2, ensure_ascii=False))
        return
    rows = [
        dict(zip(SHOWN, (one.name, one.type, one.owner, one.version, one.has_history, one.description), strict=True))
        for one in listed
    ]
    if form == "csv":
        writer = csv.DictWriter(sys.stdout, [name.replace(" ", "_") for name in SHOWN], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name.replace(" ", "_"): value for name, value in row.items()} for row in rows)
        return
    from foretable.screen import make_console, show_rows

    said = {name for row in rows for name, value in row.items() if value is not None}
    show_rows(make_console(), [{name: row[name] for name in SHOWN if name in said} for row in rows])
