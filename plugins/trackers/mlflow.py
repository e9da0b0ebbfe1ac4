"""MLflow: a server, or the run's own database in RUN/mlruns.

Source: `mlflow.MlflowClient`. The database is SQLite, since MLflow 3.13 refuses plain folders
(https://github.com/mlflow/mlflow/issues/18534); pictures lie beside it. View it with
`mlflow ui --backend-store-uri sqlite:///RUN/mlruns/mlflow.db`.
"""

import os
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from slotlab.framework.contracts import TrackerContext
from slotlab.framework.spec.plain_settings import leaves
from slotlab.registry import Component, ComponentConfig, hookimpl
from slotlab.registry.optional import require

TAG = "slotlab.run_id"
LONGEST = 6000
"""The largest length of a parameter that MLflow accepts."""
AT_ONCE = 100
"""The largest number of parameters that MLflow accepts in one call."""


class MLflowConfig(ComponentConfig):
    """Settings of MLflow."""

    tracking_uri: str | None = None
    """A server (`http://...`) or database (`sqlite:///...`); null for one in the run's folder."""
    experiment: str = "slotlab"
    """The experiment that the run is put under."""


class MLflowTracker:
    """Numbers as metrics, settings as parameters, figures as artifacts."""

    forgets = False

    def __init__(self, config: MLflowConfig, context: TrackerContext):
        require("mlflow", "slotlab[mlflow]")
        self.config = config
        self.context = context

    @cached_property
    def client(self) -> Any:
        """The connection."""
        # MLflow's defaults would wait many minutes for an unreachable server.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # no lines about database tables
        from mlflow import MlflowClient  # slow to import

        if self.config.tracking_uri is not None:
            return MlflowClient(self.config.tracking_uri)
        self.folder.mkdir(parents=True, exist_ok=True)
        return MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")

    @property
    def folder(self) -> Path:
        """The folder of the run's own database."""
        return self.context.folder / "mlruns"

    @cached_property
    def run(self) -> str:
        """MLflow's id of the run, which a resumed run keeps."""
        experiment = self._experiment()
        known = self.client.search_runs([experiment], f"tags.`{TAG}` = '{self.context.run_id}'")
        if known:
            found: str = known[0].info.run_id
            self.client.update_run(found, status="RUNNING")
            return found
        new = self.client.create_run(experiment, run_name=self.context.name, tags={TAG: self.context.run_id})
        found = new.info.run_id
        self._log_settings(found)
        return found

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send metrics."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def figure(self, name: str, path: Path) -> None:
        """Send a picture."""
        self.client.log_artifact(self.run, str(path), artifact_path=str(Path(name).parent))

    def image(self, name: str, step: int, path: Path) -> None:
        """Send a picture of one step, which MLflow shows in a row with those of other steps."""
        from PIL import Image

        with Image.open(path) as picture:
            self.client.log_image(self.run, picture.convert("RGB"), key=name, step=step, synchronous=True)

    def close(self, *, failed: bool) -> None:
        """Mark the run as finished or failed, if it was begun."""
        if "run" in vars(self):
            self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")

    def _experiment(self) -> str:
        name = self.config.experiment
        known = self.client.get_experiment_by_name(name)
        if known is not None:
            found: str = known.experiment_id
            return found
        own = self.config.tracking_uri is None
        made: str = self.client.create_experiment(name, (self.folder / "artifacts").as_uri() if own else None)
        return made

    def _log_settings(self, run: str) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:LONGEST]) for name, value in leaves(self.context.settings)]
        for start in range(0, len(params), AT_ONCE):
            self.client.log_batch(run, params=params[start : start + AT_ONCE])


@hookimpl
def slotlab_trackers() -> Iterable[Component[MLflowConfig]]:
    """Provide `mlflow`."""
    yield Component(
        name="mlflow",
        config=MLflowConfig,
        build=MLflowTracker,
        summary="an MLflow server, or a database of the run's own",
        install="slotlab[mlflow]",
    )
