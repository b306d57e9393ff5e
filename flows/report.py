"""The stage report as a flow."""

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.stage import DEFAULT, Record, in_prefect, main, open_project, reuse
from soup.config.params import Params


@flow
def report(params: Params = DEFAULT) -> Record:
    """Draw the page of the result, and show its table in Prefect."""
    from soup.pipeline.stages import report as stage

    record = reuse("report", params, lambda project, _: stage.run(project))
    if in_prefect():
        show(params, record["soup"])
    return record


def show(params: Params, link: str) -> None:
    """The result table as a Prefect artifact."""
    import pandas as pd

    results = pd.read_csv(open_project(params).out / "results.csv")
    wide = results.pivot_table(index="model", columns="split", values="accuracy", sort=False)
    rows = [
        {"model": model} | {split: f"{value:.2%}" for split, value in row.items()}
        for model, row in wide.to_dict("index").items()
    ]
    where = f" [In MLflow]({link})" if link else ""
    create_table_artifact(rows, key="results", description=f"Accuracy, {params.experiment}.{where}")


if __name__ == "__main__":
    main(report)
