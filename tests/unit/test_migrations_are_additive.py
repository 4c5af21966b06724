"""Since the last release migrations only add: its processes go on beside the new schema, reading and writing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.migrations import (
    AddConstraint,
    AddField,
    AddIndex,
    AlterField,
    AlterUniqueTogether,
    CreateModel,
    DeleteModel,
    RemoveField,
    RemoveIndex,
    RenameField,
    RenameModel,
    RunPython,
    RunSQL,
)
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import CharField, CheckConstraint, Field, Index, IntegerField, ManyToManyField, Q, TextField

RELEASE = json.loads((Path(__file__).resolve().parents[2] / "deploy" / "release.json").read_text())
# RunPython is judged by who writes it, and by tests/deploy/test_upgrade.py.
HARMLESS = (CreateModel, AddIndex, RemoveIndex, RunPython)
WORDS = {"verbose_name", "help_text", "choices", "blank", "validators", "error_messages", "default", "editable"}


def find_fault(operation: Operation, app: str, state: ProjectState, released: ProjectState) -> str:
    """Return why the last release could not work beside this operation, empty if it can."""
    model = str(getattr(operation, "model_name", None) or getattr(operation, "name", "")).lower()
    is_new = bool(model) and (app, model) not in released.models  # the last release knows nothing of it
    if is_new or isinstance(operation, HARMLESS):
        return ""
    if isinstance(operation, AddField):
        return _find_fault_of_added(operation.field)
    if isinstance(operation, AlterField):
        before = state.models[app, model].get_field(operation.name)
        return _find_fault_of_altered(before, operation.field)
    return f"{type(operation).__name__} takes away, renames or narrows what it uses"


def _find_fault_of_added(field: "Field[Any, Any]") -> str:
    if field.null or field.has_db_default() or isinstance(field, ManyToManyField):
        return ""
    return "its inserts name no such column: give it null=True or db_default"


def _find_fault_of_altered(before: "Field[Any, Any]", after: "Field[Any, Any]") -> str:
    (_, old_type, _, old), (_, new_type, _, new) = before.deconstruct(), after.deconstruct()
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} - WORDS
    if old_type != new_type:
        return "another type of column"
    if new.get("null"):
        changed.discard("null")
    if "max_length" in old and new.get("max_length", 0) > old["max_length"]:
        changed.discard("max_length")
    if after.has_db_default():
        changed.discard("db_default")
    return f"narrower, or other, in {', '.join(sorted(changed))}" if changed else ""


def list_operations() -> Iterator[tuple[str, str]]:
    """Give each operation since the last release with its fault."""
    loader = MigrationLoader(None)
    base = list(RELEASE["migrations"].items())
    released, state = loader.project_state(base), loader.project_state(base)
    done = {node for target in base for node in loader.graph.forwards_plan(target)}
    ours = [node for node in loader.graph.leaf_nodes() if node[0] in RELEASE["migrations"]]
    later = dict.fromkeys(node for leaf in ours for node in loader.graph.forwards_plan(leaf) if node not in done)
    for app, name in later:
        for operation in loader.graph.nodes[app, name].operations:
            fault = find_fault(operation, app, state, released) if app in RELEASE["migrations"] else ""
            yield f"{app}.{name}: {operation.describe()}", fault
            operation.state_forwards(app, state)


def test_migrations_since_the_last_release_only_add() -> None:
    operations = dict(list_operations())
    assert len(operations) > 10
    assert {operation: fault for operation, fault in operations.items() if fault} == {}


def make_state() -> ProjectState:
    state = ProjectState()
    fields = [("id", IntegerField(primary_key=True)), ("name", CharField(max_length=10))]
    state.add_model(ModelState("shop", "Item", fields))
    return state


@pytest.mark.parametrize(
    "operation",
    [
        AddField("item", "size", IntegerField(default=0)),  # Django drops this default once the rows have it
        AlterField("item", "name", CharField(max_length=5)),
        AlterField("item", "name", CharField(max_length=10, unique=True)),
        AlterField("item", "name", TextField()),
        RemoveField("item", "name"),
        RenameField("item", "name", "title"),
        RenameModel("Item", "Good"),
        DeleteModel("Item"),
        AddConstraint("item", CheckConstraint(condition=Q(id__gt=0), name="positive")),
        AlterUniqueTogether("item", {("id", "name")}),
        RunSQL("DROP TABLE shop_item"),
    ],
    ids=lambda operation: operation.describe(),
)
def test_what_the_last_release_could_not_bear_is_found(operation: Operation) -> None:
    assert find_fault(operation, "shop", make_state(), make_state())


@pytest.mark.parametrize(
    "operation",
    [
        AddField("item", "size", IntegerField(default=0, db_default=0)),
        AddField("item", "size", IntegerField(null=True)),
        AlterField("item", "name", CharField(max_length=20, null=True, db_default="", choices=[("a", "A")])),
        AddIndex("item", Index(fields=["name"], name="by_name")),
        CreateModel("Shelf", [("id", IntegerField(primary_key=True))]),
        AddField("shelf", "width", IntegerField()),  # of a table that the last release does not know
    ],
    ids=lambda operation: operation.describe(),
)
def test_what_only_adds_is_let_through(operation: Operation) -> None:
    assert find_fault(operation, "shop", make_state(), make_state()) == ""
