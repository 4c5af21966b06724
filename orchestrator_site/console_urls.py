"""The console's addresses: which view answers, and which permission opens it."""

from django.urls import path

from agents import views as agents
from agents.editing import views as editing
from agents.money import views as cost
from audit import views as audit
from orchestrator_site import views as site
from orchestrator_site.console import require
from orchestrator_site.roles import Permission
from toolgate import views as toolgate

app_name = "console"

read_agents = require(Permission.AGENTS_READ)
write_agents = require(Permission.AGENTS_WRITE)
read_tasks = require(Permission.TASKS_READ)
write_tasks = require(Permission.TASKS_WRITE)
read_approvals = require(Permission.APPROVALS_READ)
decide_approvals = require(Permission.APPROVALS_DECIDE)
write_policy = require(Permission.POLICY_WRITE)
read_audit = require(Permission.AUDIT_READ)
read_budget = require(Permission.BUDGET_READ)
write_budget = require(Permission.BUDGET_WRITE)

urlpatterns = [
    path("", read_tasks(site.show_overview), name="overview"),
    path("theme/", site.switch_theme, name="theme"),
    path("counts/", read_approvals(site.show_counts), name="counts"),
    path("live/", read_audit(audit.show_live), name="live"),
    path("live/events/", read_audit(audit.show_range), name="live_range"),
    path("tasks/", read_tasks(agents.show_tasks), name="task_list"),
    path("tasks/new/", write_tasks(agents.show_choice), name="task_new"),
    path("tasks/new/<str:agent_id>/", write_tasks(agents.submit), name="run_form"),
    path("tasks/new/<str:agent_id>/<str:skill_id>/", write_tasks(agents.submit), name="task_form"),
    path("tasks/<str:task_id>/", read_tasks(agents.show_task), name="task"),
    path("tasks/<str:task_id>/result.json", read_tasks(agents.send_result), name="task_result"),
    path("tasks/<str:task_id>/transcript.json", read_tasks(agents.send_transcript), name="task_transcript"),
    path("tasks/<str:task_id>/cancel/", write_tasks(agents.cancel), name="task_cancel"),
    path("tasks/<str:task_id>/retry/", write_tasks(agents.retry), name="task_retry"),
    path("tasks/<str:task_id>/allow-host/", write_policy(agents.allow_refused_host), name="task_allow_host"),
    path("tasks/<str:task_id>/artifacts/<str:name>", read_tasks(agents.send_artifact), name="artifact"),
    path("approvals/", read_approvals(toolgate.show_approvals), name="approval_list"),
    path("approvals/<str:approval_id>/", read_approvals(toolgate.show_approval), name="approval"),
    path("approvals/<str:approval_id>/decide/", decide_approvals(toolgate.decide), name="approval_decide"),
    path("agents/", read_agents(agents.show_agents), name="agent_list"),
    path("agents/<str:agent_id>/", read_agents(agents.show_agent), name="agent"),
    path("agents/<str:agent_id>/status/", write_agents(editing.change_status), name="agent_status"),
    path("agents/<str:agent_id>/edit/", write_agents(editing.edit), name="agent_edit"),
    path("agents/<str:agent_id>/import/", write_agents(editing.import_file), name="agent_import"),
    path("agents/<str:agent_id>/export/", read_agents(editing.export), name="agent_export"),
    path("agents/<str:agent_id>/compare/", read_agents(editing.compare), name="agent_compare"),
    path("agents/<str:agent_id>/versions/<int:version>/", read_agents(editing.show_version), name="agent_version"),
    path("agents/<str:agent_id>/versions/<int:version>/restore/", write_agents(editing.restore), name="agent_restore"),
    path("agents/<str:agent_id>/drafts/<str:draft_id>/", read_agents(editing.show_draft), name="agent_draft"),
    path("agents/<str:agent_id>/drafts/<str:draft_id>/publish/", write_agents(editing.publish), name="draft_publish"),
    path("agents/<str:agent_id>/drafts/<str:draft_id>/rebase/", write_agents(editing.rebase), name="draft_rebase"),
    path("agents/<str:agent_id>/drafts/<str:draft_id>/discard/", write_agents(editing.discard), name="draft_discard"),
    path(
        "agents/<str:agent_id>/drafts/<str:draft_id>/try/", write_agents(write_tasks(editing.try_out)), name="draft_try"
    ),
    path("skills/", read_agents(agents.show_skills), name="skill_list"),
    path("cost/", read_budget(cost.show_costs), name="cost"),
    path("cost/cap/", write_budget(cost.change_cap), name="cost_cap"),
    path("audit/", read_audit(audit.show_events), name="event_list"),
    path("audit/<int:seq>/", read_audit(audit.show_event), name="event"),
]
