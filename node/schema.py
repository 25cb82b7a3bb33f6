"""Whether the tables of a ``state.sqlite`` are those that this version writes."""

from __future__ import annotations

from sqlalchemy import Engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from crypto.errors import LocalFault
from node.errors import StateDamaged
from node.tables import metadata


class StateOfAnotherVersion(LocalFault):
    """The node's state was written by another version of this program, which stores other columns."""

    code = "state-of-another-version"


def require_schema(engine: Engine) -> None:
    """Compare the columns of every table that is there; a table that is not there yet will be made.

    Raises:
        StateOfAnotherVersion: A table has other columns. Nothing was changed.
        StateDamaged: The file cannot be read.
    """
    try:
        look = inspect(engine)
        there = {
            name: {column["name"] for column in look.get_columns(name)} for name in look.get_table_names()
        }
    except SQLAlchemyError as error:
        raise StateDamaged(f"state.sqlite cannot be read: {type(error).__name__}") from None
    for table in metadata.sorted_tables:
        expected = set(table.columns.keys())
        found = there.get(table.name, expected)
        if found != expected:
            differing = ", ".join(sorted(found ^ expected))
            raise StateOfAnotherVersion(
                f"state.sqlite is of another version of this program (table {table.name}, columns {differing}). "
                "Nothing was changed. Serve this node with the version that made it, or make a new node "
                "and have its peers accept it"
            )
