"""The console's addresses: which view answers, and which permission opens it."""

from django.urls import path

from agents import views as agents
from audit import views as audit
from orchestrator_site import views as site
from orchestrator_site.console import require
from orchestrator_site.roles import Permission
from toolgate import views as toolgate

app_name = "console"

read_agents = require(Permission.AGENTS_READ)
read_tasks = require(Permission.TASKS_READ)
write_tasks = require(Permission.TASKS_WRITE)
read_approvals = require(Permission.APPROVALS_READ)
decide_approvals = require(Permission.APPROVALS_DECIDE)
write_policy = require(Permission.POLICY_WRITE)
read_audit = require(Permission.AUDIT_READ)

urlpatterns = [
    path("", read_tasks(site.show_overview), name="overview"),
    path("theme/", site.switch_theme, name="theme"),
    path("counts/", read_approvals(site.show_counts), name="counts"),
    path("live/", read_audit(audit.show_live), name="live"),
    path("live/events/", read_audit(audit.show_range), name="live_range"),
    path("tasks/", read_tasks(agents.show_tasks), name="task_list"),
    path("tasks/new/", write_tasks(agents.show_choice), name="task_new"),
    path("tasks/new/<str:agent_id>/<str:skill_id>/", write_tasks(agents.submit), name="task_form"),
    path("tasks/<str:task_id>/", read_tasks(agents.show_task), name="task"),
    path("tasks/<str:task_id>/result.json", read_tasks(agents.send_result), name="task_result"),
    path("tasks/<str:task_id>/cancel/", write_tasks(agents.cancel), name="task_cancel"),
    path("tasks/<str:task_id>/retry/", write_tasks(agents.retry), name="task_retry"),
    path("tasks/<str:task_id>/allow-host/", write_policy(agents.allow_refused_host), name="task_allow_host"),
    path("tasks/<str:task_id>/artifacts/<str:name>", read_tasks(agents.send_artifact), name="artifact"),
    path("approvals/", read_approvals(toolgate.show_approvals), name="approval_list"),
    path("approvals/<str:approval_id>/", read_approvals(toolgate.show_approval), name="approval"),
    path("approvals/<str:approval_id>/decide/", decide_approvals(toolgate.decide), name="approval_decide"),
    path("agents/", read_agents(agents.show_agents), name="agent_list"),
    path("agents/<str:agent_id>/", read_agents(agents.show_agent), name="agent"),
    path("skills/", read_agents(agents.show_skills), name="skill_list"),
    path("audit/", read_audit(audit.show_events), name="event_list"),
    path("audit/<int:seq>/", read_audit(audit.show_event), name="event"),
]
