"""A gateway that the test sets, and the page of metrics that is made of it."""

import asyncio

import pytest

from appliance.metrics.page import Form, render
from appliance.rest.metrics import read
from tests.support.gateway import FakeGateway


class Metrics:
    """The page of a gateway as its series: what stands before the number, and the number."""

    def __init__(self) -> None:
        self.gateway = FakeGateway()
        self._before: dict[str, float] = {}

    def text(self) -> str:
        """The page in the text format."""
        return render(Form.TEXT, asyncio.run(read(self.gateway))).decode()

    def all(self) -> dict[str, float]:
        """All series of this moment."""
        lines = (line.rpartition(" ") for line in self.text().splitlines() if not line.startswith("#"))
        return {series: float(number) for series, _, number in lines}

    def moved(self) -> dict[str, float]:
        """Those series that are new, or have another number than at the last call; by how much they have moved."""
        now = self.all()
        moved = {series: number - self._before.get(series, 0) for series, number in now.items()}
        self._before = now
        return {series: by for series, by in moved.items() if by}

    def of(self, name: str) -> dict[str, float]:
        """The series of one family: their labels and numbers."""
        return {series.removeprefix(name): number for series, number in self.all().items() if series.partition("{")[0] == name}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()
