"""testRunner: run one of a project's named commands, locked in, and say what came of it.

The command runs on a private copy of the target that is thrown away afterwards, so a run never changes the
workspace and may be repeated. It has no network, no environment and no other file to write; see `sandbox` for
the locks. Where the kernel has not got them it refuses to run.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StrictInt

from agents.skills.base import Capability, SkillContext, SkillError, SkillModel, printable
from agents.skills.sandbox import Command, Outcome, run_confined, sandbox_status, scratch_folder
from agents.skills.test_runner.copying import copy_folder
from agents.skills.test_runner.mapping import find_program, read_mapping
from agents.skills.test_runner.summary import Summary, read_summary
from agents.skills.workspace import require_within, resolve
from toolgate.types import Resource

OMISSION = "[earlier output was left out]\n"
COPY_NAME = "target"


class CommandName(StrEnum):
    """The names that a target may map to commands."""

    UNIT_TESTS = "unit-tests"
    INTEGRATION_TESTS = "integration-tests"
    E2E_TESTS = "e2e-tests"
    LINT = "lint"
    TYPE_CHECK = "type-check"
    SECURITY_AUDIT = "security-audit"
    BUILD_VERIFY = "build-verify"


class TestRunnerInput(SkillModel):
    """What to run, and where."""

    __test__ = False  # not a test, whatever its name says to pytest

    target: str = Field(description="A folder of the workspace that holds a testrunner.toml.")
    command: CommandName = Field(description="Which of the commands in testrunner.toml to run.")
    timeout_ms: Annotated[StrictInt, Field(ge=100, le=600_000)] = Field(
        default=60_000, description="Wall-clock bound, 100 to 600,000 milliseconds."
    )


class TestRunnerOutput(SkillModel):
    """How the command ended."""

    __test__ = False

    passed: bool = Field(description="The command ended with exit code 0.")
    exit_code: int = Field(description="Negative: the signal that ended the command.")
    stdout: str = Field(description="The last 256 KB.")
    stderr: str = Field(description="The last 256 KB.")
    duration_ms: int
    summary: Summary | None = Field(description="The counts of unittest or pytest; null if neither reported any.")


class TestRunner:
    """Run a project's tests or checks in a sandbox."""

    __test__ = False

    id: ClassVar[str] = "testRunner"
    version: ClassVar[str] = "1.0.0"
    summary: ClassVar[str] = "Run one named command of a project (tests, lint, types) in a sandbox without network."
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.READ_WORKSPACE, Capability.RUN_COMMAND})
    input_model: ClassVar[type[SkillModel]] = TestRunnerInput
    output_model: ClassVar[type[SkillModel]] = TestRunnerOutput
    inline: ClassVar[bool] = False

    def is_idempotent(self, arguments: TestRunnerInput) -> bool:
        """Say that it runs on a copy and changes nothing."""
        return True

    def brings_outside_text(self, arguments: TestRunnerInput) -> bool:
        """Say yes: the output is what a foreign program prints."""
        return True

    def resource(self, arguments: TestRunnerInput, workspace: Path) -> Resource:
        """Return the target as what is read. Raises: SkillRefused."""
        return Resource(
            read_paths=(resolve(workspace, arguments.target),),
            arguments={
                "target": arguments.target,
                "command": arguments.command.value,
                "timeoutMs": arguments.timeout_ms,
            },
        )

    def run(self, arguments: TestRunnerInput, context: SkillContext) -> TestRunnerOutput:
        """Copy the target, run the command on the copy, throw the copy away.

        Raises: SkillError `sandbox_unavailable`, `folder_not_found`, `mapping_missing`, `mapping_invalid`,
        `command_not_configured`, `command_not_found`, `command_not_started`; LimitExceeded; SkillRefused.
        """
        available, detail = sandbox_status()
        if not available:
            raise SkillError("sandbox_unavailable", f"Nothing was run. {detail}")
        target = resolve(context.workspace, arguments.target)
        require_within(target, context.read_scopes, reason="read_path")
        words = read_mapping(context.workspace, target, arguments.command.value)
        with scratch_folder() as folder:
            copy_folder(context.workspace, target, folder / COPY_NAME)
            context.report(f"Running {arguments.command} in a sandbox on a copy of {target}")
            outcome = run_confined(
                Command(
                    argv=(find_program(words[0], folder / COPY_NAME), *words[1:]),
                    folder=folder,
                    start_in=COPY_NAME,
                    timeout_seconds=min(arguments.timeout_ms / 1000, context.timeout_seconds),
                    should_stop=context.should_stop,
                )
            )
        return _describe(outcome)


def _describe(outcome: Outcome) -> TestRunnerOutput:
    stdout = (OMISSION if outcome.stdout_cut else "") + printable(outcome.stdout)
    stderr = (OMISSION if outcome.stderr_cut else "") + printable(outcome.stderr)
    return TestRunnerOutput(
        passed=outcome.exit_code == 0,
        exit_code=outcome.exit_code,
        stdout=stdout,
        stderr=stderr,
        duration_ms=outcome.duration_ms,
        summary=read_summary(stdout=stdout, stderr=stderr),
    )
