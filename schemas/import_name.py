"""The one name under which a package may be imported."""

from typing import NoReturn


def refuse_folder_name(imported_as: str, import_name: str) -> NoReturn:
    """Refuse the import of a package by the name of its folder in a checkout.

    Python would load each module a second time, with classes that differ from those of the first.

    Raises:
        ImportError: Always; names the right import name.
    """
    raise ImportError(
        f"the package's import name is {import_name}, not {imported_as}: "
        f"write `import {import_name}`"
    )
