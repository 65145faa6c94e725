"""A registry in a SQLite file, read without MLflow."""

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from nightscore.errors import ModelNotFoundError, StorageUnavailableError
from nightscore.models.registries.protocol import (
    BASELINE_TAG,
    DIGEST_TAG,
    LOGGED_MODEL_SOURCE,
    ModelVersion,
    RegisteredModel,
)

SCHEME = "sqlite:///"
READY_STATUS = 2
"""How the table of logged models says that a model's artifacts are all there."""


@contextlib.contextmanager
def open_sqlite(uri: str) -> Iterator["SqliteRegistry"]:
    """Open the file read-only: a lookup must never create or migrate a registry.

    Raises:
        ModelNotFoundError: There is no such file, or it is no registry of MLflow.
        StorageUnavailableError: It cannot be read now.
    """
    path = Path(uri.removeprefix(SCHEME).split("?")[0])
    if not path.is_file():
        raise ModelNotFoundError(
            "There is no model registry.",
            uri,
            expected=f"the SQLite file {path.absolute()}",
            next_step="set `registry` in the job file, --registry or MLFLOW_TRACKING_URI",
        )

    address = f"file:{urllib.parse.quote(str(path))}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as db:
        try:
            yield SqliteRegistry(db)
        except sqlite3.OperationalError as error:
            raise StorageUnavailableError(
                "The model registry cannot be read.",
                uri,
                found=str(error),
                next_step="if tables are missing, run `mlflow db upgrade` on it; else check its "
                "disk and which process locks it",
            ) from error
        except sqlite3.DatabaseError as error:
            raise ModelNotFoundError(
                "The SQLite file is not an MLflow registry, or has an unknown version.",
                uri,
                found=str(error),
                next_step="run `mlflow db upgrade` on it, or name another registry",
            ) from error


class SqliteRegistry:
    """Reads MLflow's tables, whose names and columns it has kept.

    Those of registered models are as they were in 2.0, and those of logged models as in 3.0.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        """Take a connection, which the caller closes."""
        self._db = db

    def version_of_alias(self, name: str, alias: str) -> str | None:
        """See `Registry`."""
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
        row = self._db.execute(query, (name, alias)).fetchone()
        return str(row[0]) if row else None

    def version(self, name: str, version: str) -> ModelVersion | None:
        """See `Registry`."""
        query = (
            "SELECT coalesce(storage_location, source) FROM model_versions "
            "WHERE name = ? AND version = ? AND current_stage != 'Deleted_Internal'"
        )

        row = self._db.execute(query, (name, int(version))).fetchone()
        if row is None:
            return None

        query = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
        tags = dict(self._db.execute(query, (name, int(version))).fetchall())

        return ModelVersion(
            name, version, str(row[0]), tags.get(DIGEST_TAG), tags.get(BASELINE_TAG)
        )

    def logged_model(self, model_id: str) -> ModelVersion | None:
        """See `Registry`."""
        query = (
            "SELECT name, artifact_location, status FROM logged_models "
            "WHERE model_id = ? AND lifecycle_stage != 'deleted'"
        )

        row = self._db.execute(query, (model_id,)).fetchone()
        if row is None:
            return None

        query = "SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ?"
        tags = dict(self._db.execute(query, (model_id,)).fetchall())

        name, location, status = row
        return ModelVersion(
            str(name),
            model_id,
            str(location),
            tags.get(DIGEST_TAG),
            is_ready=status == READY_STATUS,
        )

    def logged_models(self, name: str) -> list[str]:
        """See `Registry`."""
        query = (
            "SELECT model_id FROM logged_models WHERE name = ? AND lifecycle_stage != 'deleted' "
            "ORDER BY creation_timestamp_ms DESC"
        )
        return [str(model_id) for (model_id,) in self._db.execute(query, (name,))]

    def names(self) -> list[str]:
        """See `Registry`."""
        rows = self._db.execute("SELECT name FROM registered_models ORDER BY name").fetchall()
        return [str(row[0]) for row in rows]

    def model_tag(self, name: str, tag: str) -> str | None:
        """See `Registry`."""
        query = "SELECT value FROM registered_model_tags WHERE name = ? AND key = ?"
        row = self._db.execute(query, (name, tag)).fetchone()
        return str(row[0]) if row else None

    def parameters(self, name: str, version: str) -> dict[str, str] | None:
        """See `Registry`."""
        query = "SELECT run_id, source FROM model_versions WHERE name = ? AND version = ?"
        row = self._db.execute(query, (name, int(version))).fetchone()
        run_id, source = row or ("", "")

        logged = LOGGED_MODEL_SOURCE.fullmatch(source or "")
        if not run_id and logged is None:
            return None

        query = "SELECT key, value FROM params WHERE run_uuid = ?"
        parameters = dict(self._db.execute(query, (run_id,)).fetchall())

        if logged is not None:
            query = "SELECT param_key, param_value FROM logged_model_params WHERE model_id = ?"
            parameters |= dict(self._db.execute(query, (logged[1],)).fetchall())

        return parameters

    def model(self, name: str) -> RegisteredModel | None:
        """See `Registry`."""
        query = "SELECT 1 FROM registered_models WHERE name = ?"
        if self._db.execute(query, (name,)).fetchone() is None:
            return None

        query = (
            "SELECT version FROM model_versions "
            "WHERE name = ? AND current_stage != 'Deleted_Internal' ORDER BY version"
        )

        versions = [str(row[0]) for row in self._db.execute(query, (name,))]

        query = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
        rows = self._db.execute(query, (name,)).fetchall()

        return RegisteredModel(versions, {alias: str(version) for alias, version in rows})
