"""What a kind of cluster must do: place calls, and say what its workers have."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from nightscore.engine.remote.calls import Call, Reply
from nightscore.engine.remote.requirements import NodeReport, NodeRequirements


class Cluster(Protocol):
    """A connection to a cluster that is there already."""

    name: str
    address: str

    def n_slots(self) -> int:
        """Calls that it runs at once: threads of Dask's workers, CPUs of Ray's nodes.

        Raises:
            Exception: It does not answer.
        """
        ...

    def report_nodes(self, requirements: NodeRequirements) -> Mapping[str, NodeReport | str]:
        """The report of each worker by its name; a text where it could give none."""
        ...

    def submit(self, call: Call) -> Future[Reply]:
        """Have a call run once; never raises by itself, and never runs it twice."""
        ...

    def cancel(self, keys: Sequence[str]) -> None:
        """Drop calls that wait, and end the processes of those that run."""
        ...

    def close(self) -> None:
        """Leave the cluster as it is."""
        ...


def count_slots(cluster: Cluster) -> tuple[int, str]:
    """Calls that a cluster runs at once, and why there are none."""
    try:
        return cluster.n_slots(), "no workers"
    except Exception as error:  # noqa: BLE001 (whatever its library raises)
        return 0, f"{type(error).__name__}: {str(error)[:200]}"
