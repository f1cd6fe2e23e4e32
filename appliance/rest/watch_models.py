"""The shapes of what `/doctor` and `/metrics` answer, as pydantic models."""

from typing import Literal

from pydantic import Field

from appliance.rest.models import Model


class Finding(Model):
    """Something that is wrong."""

    severity: Literal["note", "warning", "error"]
    name: str
    about: str
    problem: str
    evidence: str
    advice: str
    commands: list[str]
    run_on: str


class Report(Model):
    """What the doctor found."""

    severity: Literal["ok", "note", "warning", "error"]
    running: bool
    watched_s: float = Field(ge=0)
    findings: list[Finding]
    left_out: list[str]
    unseen: dict[str, str]


class Sample(Model):
    """One number of a metric."""

    labels: dict[str, str]
    value: float


class Metric(Model):
    """A metric of Prometheus."""

    type: str
    help: str
    samples: list[Sample]
