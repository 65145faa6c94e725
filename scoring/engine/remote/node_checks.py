"""Whether the workers of a cluster can do a job, asked before anything is sent to them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from nightscore.engine.remote.cluster import Cluster
from nightscore.engine.remote.requirements import (
    NodeReport,
    NodeRequirements,
    process_versions,
    version_mismatches,
)
from nightscore.errors import ClusterError, InvalidJobError
from nightscore.schemas.job import ScoringJob
from nightscore.storage.env_references import env_names
from nightscore.storage.store import Store

logger = logging.getLogger("nightscore")


def requirements_of(job: ScoringJob, stores: Sequence[Store]) -> NodeRequirements:
    """What each worker needs for a job whose data is on these stores.

    Raises:
        InvalidJobError: The job names folders relative to the driver's own.
    """
    relative = [uri for uri in (job.input.uri, job.output.uri) if _is_relative(uri)]
    if relative:
        raise InvalidJobError(
            "The job names folders relative to where it was started, which means something else "
            "on a cluster.",
            job.name,
            problems=relative,
            next_step="name an object store, or an absolute path on a disk that all nodes share",
        )

    variables = {name for store in stores for name in env_names(store.options)}

    folders = [store.root for store in stores if store.is_local]

    return NodeRequirements(tuple(sorted(variables)), tuple(sorted(folders)))


def check_nodes(cluster: Cluster, requirements: NodeRequirements) -> None:
    """Ask all workers of a cluster what they have.

    Raises:
        ClusterError: They lack something, or have other versions; all is named, by worker.
    """
    reports = cluster.report_nodes(requirements)
    problems: list[str] = []

    for worker, report in sorted(reports.items()):
        if isinstance(report, str):
            problems.append(f"{worker}: {report}")
        else:
            problems += _problems(worker, report)

    if problems:
        raise ClusterError(
            f"The workers of the {cluster.name} cluster cannot do this job; "
            "nothing was sent to them.",
            cluster.address,
            expected="the driver's versions, the variables that the job names, and its folders, "
            "on each worker",
            problems=problems,
            next_step="install the same versions on all nodes and set the variables there; "
            "put inputs and outputs on an object store, or on a disk that all nodes share",
        )

    logger.info("%s cluster %s: %d workers", cluster.name, cluster.address, len(reports))


def _problems(worker: str, report: NodeReport) -> list[str]:
    refused, warned = version_mismatches(process_versions(), report.versions)
    for text in warned:
        logger.warning("%s on %s: %s", worker, report.host, text)

    problems = refused
    for name in report.missing_variables:
        problems.append(f"the variable {name}, which storage_options name, is not set")
    for folder in report.missing_folders:
        problems.append(f"does not see the folder {folder}")
    return [f"{worker} on {report.host}: {text}" for text in problems]


def _is_relative(uri: str) -> bool:
    return "://" not in uri and not Path(uri).is_absolute()
