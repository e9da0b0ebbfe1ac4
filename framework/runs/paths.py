"""The names of the files in a run's folder, which no other module knows.

RUN/spec.yaml            the resolved spec: all settings, a valid spec by itself
RUN/plugins/             copies of the single-file plugins it used (`framework.plugin_loading.plugin_copies`)
RUN/provenance.json      versions, commit, hardware, command, sources of components
RUN/status.json          beginning, running, done, failed or stopped, and why
RUN/metrics.jsonl        one line per log entry and per validation
RUN/cost.json            operations, speed, memory, time and energy of the training
RUN/trackers.json        what trackers (TensorBoard, MLflow, W&B) have received, if the spec has any
RUN/tensorboard/, mlruns/, wandb/  their own files
RUN/watch/               a picture of masks for each look during the training: step-000001000.png
RUN/failure.json         the step, component and images at which a loss became NaN or infinite
RUN/checkpoints/         everything needed to resume the training (see `framework.runs.checkpoints`)
RUN/compositions/        pictures composed of slots, one folder per NAME: PNG, composition.json
RUN/cache/               what can be recomputed: features of real images
RUN/evaluation/          one folder per DATASET-SPLIT-PROTOCOL-MASKS: images.csv, summary.json, samples/
RUN/probe/               one per probe: summary.json, probe.csv, images.csv (see docs/how_to/probing.md)
RUN/figures/             PNG and PDF: loss, learning_rate, each evaluation (docs/reference/figures.md)
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """The paths of one run's files."""

    path: Path

    @property
    def spec(self) -> Path:
        """The resolved spec."""
        return self.path / "spec.yaml"

    @property
    def metrics(self) -> Path:
        """The log, JSON lines."""
        return self.path / "metrics.jsonl"

    @property
    def trackers(self) -> Path:
        """What trackers have received, JSON."""
        return self.path / "trackers.json"

    @property
    def failure(self) -> Path:
        """Where a loss became NaN or infinite, JSON."""
        return self.path / "failure.json"

    @property
    def cost(self) -> Path:
        """What the training took, JSON."""
        return self.path / "cost.json"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    @property
    def watch(self) -> Path:
        """The folder of pictures from during the training."""
        return self.path / "watch"

    def picture(self, step: int) -> Path:
        """The picture from after a step of the training, if the training was looked at then."""
        return self.watch / f"step-{step:09d}.png"

    def watched(self) -> list[Path]:
        """Return the pictures from during the training, by step."""
        return sorted(self.watch.glob("step-*.png"))

    @property
    def set_features(self) -> Path:
        """The folder of features of real images, kept between measurements."""
        return self.path / "cache" / "set_features"

    def composition(self, name: str) -> Path:
        """The folder of one set of composed pictures, such as `sample-val-seed0`."""
        return self.path / "compositions" / name

    def evaluation(self, name: str) -> Path:
        """The folder of one evaluation, such as `scenes-val-whole-decoder`."""
        return self.path / "evaluation" / name

    def probe(self, name: str) -> Path:
        """The folder of one probe, such as `scenes-val-whole-decoder-1a2b3c4d`."""
        return self.path / "probe" / name
