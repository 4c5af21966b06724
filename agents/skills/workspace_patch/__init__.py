"""workspacePatch: change one text file by literal replacements, shown as a unified diff before it is done.

A dry run is the default and touches nothing. A real write happens whole or not at all. `append` or `prepend`
to a file that does not exist creates it, in a folder that does; `replace` and `delete` need the file.
"""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool, model_validator

from agents.skills.base import Capability, LimitExceeded, PlainText, SkillContext, SkillError, SkillModel
from agents.skills.workspace import (
    find_beneath,
    lock_folder_of,
    open_folder,
    replace_file,
    require_within,
    resolve,
)
from agents.skills.workspace_patch.diff import Draft
from agents.skills.workspace_patch.risks import RiskFlag, find_risks
from toolgate.types import Resource

MAX_CHARACTERS = 10_000
MAX_CHANGES = 100
MAX_FILE_BYTES = 1_000_000


class ChangeType(StrEnum):
    """What one change does."""

    REPLACE = "replace"
    APPEND = "append"
    PREPEND = "prepend"
    DELETE = "delete"


class Change(SkillModel):
    """One change. `oldText` is literal text that occurs exactly once in the file."""

    type: ChangeType
    old_text: PlainText | None = Field(default=None, description="For replace and delete: the text as it stands.")
    new_text: PlainText | None = Field(default=None, description="For replace, append and prepend: the text to put in.")

    @model_validator(mode="after")
    def _check_texts(self) -> "Change":
        needs_old = self.type in (ChangeType.REPLACE, ChangeType.DELETE)
        needs_new = self.type is not ChangeType.DELETE
        if bool(self.old_text) != needs_old:
            raise ValueError(f"{self.type} {'needs an' if needs_old else 'takes no'} oldText")
        if (self.new_text is not None) != needs_new:
            raise ValueError(f"{self.type} {'needs a' if needs_new else 'takes no'} newText")
        return self


class WorkspacePatchInput(SkillModel):
    """Which file to change, and how."""

    file_path: str = Field(description="Path of a text file, relative to the workspace.")
    changes: Annotated[list[Change], Field(min_length=1, max_length=MAX_CHANGES)]
    dry_run: StrictBool = Field(default=True, description="Show the diff and write nothing.")


class WorkspacePatchOutput(SkillModel):
    """The diff, and whether it was written."""

    diff: str = Field(description="Unified diff; empty if the changes come to nothing.")
    lines_before: int
    lines_after: int
    risk_flags: list[RiskFlag]
    applied: bool
    created: bool = Field(description="The file did not exist and was written.")
    path: str = Field(description="The file's real path, relative to the workspace.")
    sha256: str | None = Field(description="Of the file as written; null in a dry run.")
    size_bytes: int | None = Field(description="Of the file as written; null in a dry run.")


class WorkspacePatch:
    """Preview or write a patch to one file of the workspace."""

    id: ClassVar[str] = "workspacePatch"
    version: ClassVar[str] = "1.0.0"
    summary: ClassVar[str] = "Preview, or write, literal changes to one text file of the workspace."
    measures: ClassVar[tuple[str, ...]] = ("changeCount", "patchCharacters")  # what rules can test beside arguments
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.READ_WORKSPACE, Capability.WRITE_WORKSPACE})
    input_model: ClassVar[type[SkillModel]] = WorkspacePatchInput
    output_model: ClassVar[type[SkillModel]] = WorkspacePatchOutput
    inline: ClassVar[bool] = False

    def is_idempotent(self, arguments: WorkspacePatchInput) -> bool:
        """Say that only a dry run may be repeated."""
        return arguments.dry_run

    def brings_outside_text(self, arguments: WorkspacePatchInput) -> bool:
        """Say yes: its diff shows lines of the file around the change."""
        return True

    def resource(self, arguments: WorkspacePatchInput, workspace: Path) -> Resource:
        """Return the file, read and, unless this is a dry run, written. Raises: SkillRefused."""
        path = resolve(workspace, arguments.file_path, reason="read_path" if arguments.dry_run else "write_path")
        return Resource(
            read_paths=(path,),
            write_paths=() if arguments.dry_run else (path,),
            arguments={
                "filePath": arguments.file_path,
                "dryRun": arguments.dry_run,
                "changeCount": len(arguments.changes),
                "patchCharacters": count_characters(arguments.changes),
            },
            files_only=True,
        )

    def run(self, arguments: WorkspacePatchInput, context: SkillContext) -> WorkspacePatchOutput:
        """Preview the changes, or write them.

        Raises: SkillError `file_not_found`, `not_text`, `old_text_not_found`, `old_text_ambiguous`,
        `write_failed`; LimitExceeded `patch_characters` or `bytes`; SkillRefused.
        """
        characters = count_characters(arguments.changes)
        if characters > MAX_CHARACTERS:
            message = (
                f"The changes hold {characters:,} characters; {MAX_CHARACTERS:,} are allowed. Nothing was written."
            )
            raise LimitExceeded("patch_characters", message)
        path = resolve(context.workspace, arguments.file_path)
        require_within(path, context.read_scopes, reason="read_path")
        if arguments.dry_run:
            return _preview(context.workspace, path, arguments.changes)
        require_within(path, context.write_scopes, reason="write_path")
        return _write(context.workspace, path, arguments.changes)


def count_characters(changes: list[Change]) -> int:
    """Return how much text the changes hold."""
    return sum(len(change.old_text or "") + len(change.new_text or "") for change in changes)


def _preview(workspace: Path, path: str, changes: list[Change]) -> WorkspacePatchOutput:
    parent, _, name = path.rpartition("/")
    with open_folder(workspace, parent or ".") as folder:
        before = _read_text(folder, name, path)
    return _describe(path, draft_changes(before, changes, path), is_new=before is None, written=None)


def _write(workspace: Path, path: str, changes: list[Change]) -> WorkspacePatchOutput:
    with lock_folder_of(workspace, path) as (folder, name):
        before = _read_text(folder, name, path)
        draft = draft_changes(before, changes, path)
        content = draft.text.encode()
        if len(content) > MAX_FILE_BYTES:
            raise LimitExceeded("bytes", f"{path!r} would be over {MAX_FILE_BYTES:,} bytes. Nothing was written.")
        try:
            replace_file(folder, name, content)
        except OSError as error:
            message = f"{path!r} could not be written and is as it was: {error.strerror}."
            raise SkillError("write_failed", message) from None
    return _describe(path, draft, is_new=before is None, written=content)


def _read_text(folder: int, name: str, path: str) -> str | None:
    content = find_beneath(folder, name, max_bytes=MAX_FILE_BYTES)
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        raise SkillError("not_text", f"{path!r} is not UTF-8 text. Only text files can be patched.") from None


def draft_changes(before: str | None, changes: list[Change], path: str) -> Draft:
    """Return the text after all changes, each applied to the outcome of the one before it; None: no file yet.

    Raises: SkillError `file_not_found`, `old_text_not_found`, `old_text_ambiguous`.
    """
    if before is None and changes[0].old_text:
        message = f"There is no {path!r} to change. Check the path, or create the file with append."
        raise SkillError("file_not_found", message)
    draft = Draft(before or "")
    for number, change in enumerate(changes, start=1):
        start = _find_place(draft.text, change, number=number)
        draft.splice(start, len(change.old_text or ""), change.new_text or "")
    return draft


def _find_place(text: str, change: Change, *, number: int) -> int:
    if change.type is ChangeType.APPEND:
        return len(text)
    if change.type is ChangeType.PREPEND:
        return 0
    old = change.old_text or ""
    start = text.find(old)
    if start < 0:
        message = f"Change {number}: its oldText is not in the file. Copy it from the file as it stands."
        raise SkillError("old_text_not_found", message)
    if text.find(old, start + 1) >= 0:
        message = f"Change {number}: its oldText occurs more than once. Take in more of the lines around it."
        raise SkillError("old_text_ambiguous", message)
    return start


def _describe(path: str, draft: Draft, *, is_new: bool, written: bytes | None) -> WorkspacePatchOutput:
    return WorkspacePatchOutput(
        diff=draft.render_diff(path=path, is_new=is_new),
        lines_before=len(draft.old_lines),
        lines_after=len(draft.lines),
        risk_flags=find_risks(removed=draft.list_removed(), added=draft.list_added()),
        applied=written is not None,
        created=is_new and written is not None,
        path=path,
        sha256=None if written is None else hashlib.sha256(written).hexdigest(),
        size_bytes=None if written is None else len(written),
    )
