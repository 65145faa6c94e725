"""Compiles the Python modules that commands and services import, and no others.

    /opt/nightscore/bin/python bytecode.py     # for the environment of this interpreter

The image's file system may be read-only, so that nothing is compiled later: what is missing here is
compiled in memory whenever it is imported, which is slower but works. Bytecode of all modules would
take almost twice as much space. The files hold no times, which a copy may change.
"""

import importlib
import importlib.util
import pkgutil
import py_compile
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

NEEDS_MORE = ("nightscore.flows.stack",)
"""Packages that need libraries of the extra `demo`, which the image does not have."""

OPTIONAL = ("onnx", "onnxruntime")
"""Libraries that the image has only if it was built with their extra."""

SERVICES = (
    # All of nightscore, each kind of model, and what its modules import late.
    "nightscore lightgbm xgboost onnx onnxruntime skops.io polars deltalake s3fs matplotlib.figure "
    "matplotlib.backends.backend_svg sklearn.ensemble sklearn.linear_model sklearn.pipeline "
    "sklearn.compose sklearn.preprocessing sklearn.impute uvicorn",
    "prefect.cli.server prefect.cli.worker prefect.cli.deploy prefect.server.api.server asyncpg "
    "prefect.workers.process prefect.engine uvicorn.lifespan.on uvicorn.protocols.http.h11_impl",
    "mlflow.cli mlflow.server mlflow.server.fastapi_app mlflow.store.tracking.sqlalchemy_store "
    "mlflow.store.model_registry.sqlalchemy_store mlflow.store.artifact.s3_artifact_repo boto3 "
    "psycopg2 sqlalchemy.dialects.postgresql.psycopg2 mlflow.pyfunc mlflow.sklearn",
)
"""What is imported together. Each service imports in a process of its own."""


def main() -> None:
    """Compile what the services import, and print how many modules and bytes that are."""
    if len(sys.argv) > 1:
        _print_imported(sys.argv[1].split())
        return

    n_bytes = n_modules = 0
    for module in sorted(_imported_modules()):
        compiled = py_compile.compile(
            module,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        n_bytes += Path(str(compiled)).stat().st_size
        n_modules += 1

    sys.stdout.write(f"{n_bytes / 1e6:6.1f} MB  bytecode of {n_modules:,} modules\n")


def _imported_modules() -> set[str]:
    """The files of all modules that some service imports."""
    files: set[str] = set()
    for names in SERVICES:
        command = [sys.executable, "-B", __file__, names]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        files.update(done.stdout.splitlines())
    return files


def _print_imported(names: list[str]) -> None:
    """Import modules, and print the files of all that this imports from the environment."""
    warnings.simplefilter("ignore")

    for name in names:
        if name in OPTIONAL and importlib.util.find_spec(name) is None:
            continue
        module = importlib.import_module(name)
        if name == "nightscore":
            _import_below(module.__path__)

    files = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
    inside = [file for file in files if file.startswith(sys.prefix) and file.endswith(".py")]
    sys.stdout.write("\n".join(sorted(inside)))


def _import_below(folders: Iterable[str]) -> None:
    """Import each module of nightscore but those that run when they are imported."""
    for module in pkgutil.walk_packages(folders, "nightscore."):
        is_program = module.name.endswith("__main__")
        if not is_program and not module.name.startswith(NEEDS_MORE):
            importlib.import_module(module.name)


if __name__ == "__main__":
    main()
