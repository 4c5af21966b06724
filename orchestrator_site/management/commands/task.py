"""`manage.py task submit|follow|list|show|cancel|retry`: tasks at a terminal.

Exit codes: 0 it succeeded, or was done; 1 the task failed; 2 it was cancelled; 3 nothing was done; 130 Ctrl-C.
"""

import sys
from typing import Any, Final, override

from django.utils import timezone
from pydantic import ValidationError

from agents import control, queue
from agents.api import TASK_FILTERS, find_page, page_to_wire
from agents.models import Task
from agents.ordering.admission import OrderBody, admit_order, read_key
from agents.queries import get_task, task_to_wire
from agents.states import TaskState
from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import find_actor
from orchestrator_site.terminal.following import Follower, event_to_wire
from orchestrator_site.terminal.reading import read_object
from orchestrator_site.terminal.tasks import EXIT_CODES, end_lines, list_lines, show_lines, tone_state
from orchestrator_site.terminal.verbs import Answer, VerbCommand, add_verb
from toolgate.lines import dump_plain
from toolgate.reading import BodyInvalid, list_problems

_INTERRUPTED: Final = 130
_OPTIONS: Final = {
    "agentId": "agent",
    "skillId": "skill",
    "errorCode": "error",
    "parentTaskId": "parent",
}  # of the API's parameters


class Command(VerbCommand):
    """Order tasks, follow them, and end or repeat them, with the rights of the user it is used for."""

    help = "Submit, follow, list, show, cancel and retry tasks. Exit code: 1 if it failed, 2 cancelled, 3 not done."
    refused = 3

    @override
    def add_verbs(self, verbs: Any) -> None:
        submit = add_verb(verbs, "submit", "order a task", target="agent", needs=Permission.TASKS_WRITE)
        submit.add_argument("skill", nargs="?", help="runs without a model; without one the agent itself decides")
        submit.add_argument("--input", required=True, metavar="FILE|-|JSON", help="what it is given: a JSON object")
        submit.add_argument("--priority", type=int, help="-100 to 100 (0); a higher one runs first")
        submit.add_argument("--run-at", metavar="TIME", help="not before, such as 2026-11-23T12:00:00Z")
        submit.add_argument("--key", help="an idempotency key: repeated, it names the same task")
        follow = add_verb(verbs, "follow", "tell what happens to a task until it has ended", target="id")
        follow.set_defaults(follow=True)
        listing = add_verb(verbs, "list", "the newest tasks")
        listing.add_argument("--status", choices=[state.value for state in TaskState], metavar="STATUS")
        listing.add_argument("--agent", metavar="ID")
        listing.add_argument("--skill", metavar="ID")
        listing.add_argument("--error", metavar="CODE", help="such as attempts_exhausted, the dead letters")
        listing.add_argument("--parent", metavar="ID", help="the steps of this workflow")
        listing.add_argument("--cursor", help="of the page before")
        listing.add_argument("--limit", help="1 to 1,000 (50)")
        add_verb(verbs, "show", "one task, and what a person can do about it", target="id")
        add_verb(verbs, "cancel", "end a task early", target="id", needs=Permission.TASKS_WRITE)
        retry = add_verb(
            verbs, "retry", "queue a failed or cancelled one again", target="id", needs=Permission.TASKS_WRITE
        )
        for verb in (submit, retry):
            verb.add_argument("--follow", action="store_true", help="and tell what happens until it has ended")

    def _submit(self, options: dict[str, Any]) -> Answer:
        owner = find_actor(options["user"], Permission.TASKS_WRITE).get_username()
        given = {"agentId": options["agent"], "skillId": options["skill"], "input": read_object(options["input"])}
        given |= {"priority": options["priority"], "runAt": options["run_at"]}
        raw, now = {name: value for name, value in given.items() if value is not None}, timezone.now()
        order = admit_order(_read_order(raw), raw=raw, submitted_by=owner, key=read_key(options["key"]), now=now)
        submission = queue.submit_task(order, now=now)
        word = "submitted" if submission.created else "the same key had ordered it already"
        return self._done(submission.task, word, options)

    def _cancel(self, options: dict[str, Any]) -> Answer:
        actor = f"user:{find_actor(options['user'], Permission.TASKS_WRITE).get_username()}"
        task = control.cancel_task(options["id"], actor=actor, now=timezone.now())
        word = "cancelled" if task.state == TaskState.CANCELLED else "its worker was told to stop it"
        return self._done(task, word, options)

    def _retry(self, options: dict[str, Any]) -> Answer:
        actor = f"user:{find_actor(options['user'], Permission.TASKS_WRITE).get_username()}"
        return self._done(control.retry_task(options["id"], actor=actor, now=timezone.now()), "queued again", options)

    def _done(self, task: Task, word: str, options: dict[str, Any]) -> Answer:
        if not options.get("follow"):
            return Answer(wire=task_to_wire(task), lines=[f"{task.id}: {word}."])
        if not options.get("json"):
            self.say([f"{task.id}: {word}."], options)
        return self._follow(options | {"id": task.id})

    def _follow(self, options: dict[str, Any]) -> Answer:
        follower = Follower(options["id"])
        try:
            for event in follower.follow():
                if options.get("json"):
                    self.stdout.write(dump_plain(event_to_wire(event)))
                else:
                    self.say(follower.describe(event), options)
                self.stdout.flush()
        except KeyboardInterrupt:
            again = f"manage.py task follow {options['id']}"
            self.stderr.write(f"\nNo longer followed: the task goes on. {again} takes it up again.", self.style.NOTICE)
            sys.exit(_INTERRUPTED)
        task = follower.task
        lines, code = [tone_state(task.state), *end_lines(task)], EXIT_CODES[TaskState(task.state)]
        return Answer(wire=task_to_wire(task), lines=lines, exit_code=code, is_stream=True)

    def _list(self, options: dict[str, Any]) -> Answer:
        given = {name: options[_OPTIONS.get(name, name)] for name in TASK_FILTERS}
        page = find_page({name: value for name, value in given.items() if value is not None})
        return Answer(wire=page_to_wire(page), lines=list_lines(page.results, following=page.next))

    def _show(self, options: dict[str, Any]) -> Answer:
        task = get_task(options["id"])
        return Answer(wire=task_to_wire(task), lines=show_lines(task))


def _read_order(raw: dict[str, Any]) -> OrderBody:
    try:
        return OrderBody.model_validate(raw)
    except ValidationError as error:
        raise BodyInvalid(list_problems(error)) from error
