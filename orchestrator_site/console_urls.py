"""The console's addresses: which view answers, and which permission opens it."""

from django.urls import path, register_converter
from django.urls.converters import IntConverter

from agents import skill_views as skills
from agents import views as agents
from agents.editing import views as editing
from agents.money import views as cost
from agents.switches import views as switches
from audit.exploring import run_views as trail
from audit.exploring import views as audit
from audit.live import views as live
from orchestrator_site import views as site
from orchestrator_site.console import require
from orchestrator_site.roles import Permission
from toolgate.editing import views as policy
from toolgate.explaining import views as explaining
from toolgate.inbox import deciding
from toolgate.inbox import views as inbox
from toolgate.matrix import rule_views as rules
from toolgate.matrix import views as matrix
from toolgate.replay import views as replay

app_name = "console"


class NumberConverter(IntConverter):
    """A number that every store can hold; a longer one names no page."""

    regex = "[0-9]{1,15}"


register_converter(NumberConverter, "number")
read_agents = require(Permission.AGENTS_READ)
write_agents = require(Permission.AGENTS_WRITE)
stop_fleet = require(Permission.FLEET_STOP)
read_tasks = require(Permission.TASKS_READ)
write_tasks = require(Permission.TASKS_WRITE)
read_approvals = require(Permission.APPROVALS_READ)
decide_approvals = require(Permission.APPROVALS_DECIDE)
read_policy = require(Permission.POLICY_READ)
write_policy = require(Permission.POLICY_WRITE)
read_audit = require(Permission.AUDIT_READ)
export_audit = require(Permission.AUDIT_EXPORT)
read_budget = require(Permission.BUDGET_READ)
write_budget = require(Permission.BUDGET_WRITE)

urlpatterns = [
    path("", read_tasks(site.show_overview), name="overview"),
    path("theme/", site.switch_theme, name="theme"),
    path("counts/", read_approvals(site.show_counts), name="counts"),
    path("live/", read_audit(live.show_live), name="live"),
    path("live/events/", read_audit(live.show_range), name="live_range"),
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
    path("approvals/", read_approvals(inbox.show_approvals), name="approval_list"),
    path("approvals/grants/", read_approvals(inbox.show_grants), name="grants"),
    path("approvals/grants/<str:grant_id>/revoke/", decide_approvals(inbox.revoke), name="grant_revoke"),
    path("approvals/<str:approval_id>/", read_approvals(inbox.show_approval), name="approval"),
    path("approvals/<str:approval_id>/decide/", decide_approvals(deciding.decide), name="approval_decide"),
    path("approvals/<str:approval_id>/decide-equal/", decide_approvals(deciding.decide_batch), name="approval_batch"),
    path("approvals/<str:approval_id>/edit/", decide_approvals(deciding.edit), name="approval_edit"),
    path("permissions/", read_policy(matrix.show_matrix), name="permissions"),
    path("permissions/cell/", read_policy(matrix.show_cell), name="permission_cell"),
    path("permissions/cell/keep/", write_policy(matrix.keep), name="permission_keep"),
    path("permissions/rules/new/", write_policy(rules.new_rule), name="rule_new"),
    path("permissions/rules/<str:rule_id>/", read_policy(rules.show_rule), name="rule"),
    path("permissions/rules/<str:rule_id>/edit/", write_policy(rules.edit_rule), name="rule_edit"),
    path("permissions/rules/<str:rule_id>/delete/", write_policy(rules.delete_rule), name="rule_delete"),
    path("permissions/explain/", read_policy(explaining.show_explanation), name="explain"),
    path("permissions/explain/draft/", write_policy(explaining.draft), name="explain_draft"),
    path("permissions/draft/", read_policy(policy.show_draft), name="policy_draft"),
    path("permissions/draft/publish/", write_policy(policy.publish), name="policy_draft_publish"),
    path("permissions/draft/rebase/", write_policy(policy.rebase), name="policy_draft_rebase"),
    path("permissions/draft/discard/", write_policy(policy.discard), name="policy_draft_discard"),
    path("permissions/draft/rules/<str:rule_id>/undo/", write_policy(policy.undo_rule), name="policy_draft_undo"),
    path("permissions/drafts/<str:draft_id>/", read_policy(policy.show_draft_of), name="policy_draft_of"),
    path("permissions/whatif/", read_policy(replay.start), name="what_if_start"),
    path("permissions/whatif/<str:what_if_id>/", read_policy(replay.show_what_if), name="what_if"),
    path("permissions/shadow/<str:rule_id>/", read_policy(replay.show_shadow), name="shadow"),
    path("permissions/shadow/<str:rule_id>/promote/", write_policy(replay.promote), name="shadow_promote"),
    path("permissions/shadow/<str:rule_id>/drop/", write_policy(replay.drop), name="shadow_drop"),
    path("permissions/history/", read_policy(policy.show_history), name="policy_history"),
    path("permissions/compare/", read_policy(policy.compare), name="policy_compare"),
    path("permissions/versions/<number:number>/", read_policy(policy.show_version), name="policy_version"),
    path("permissions/versions/<number:number>/restore/", write_policy(policy.restore), name="policy_restore"),
    path("agents/", read_agents(agents.show_agents), name="agent_list"),
    path("agents/<str:agent_id>/", read_agents(agents.show_agent), name="agent"),
    path("agents/<str:agent_id>/status/", stop_fleet(switches.change_agent), name="agent_status"),
    path("agents/<str:agent_id>/edit/", write_agents(editing.edit), name="agent_edit"),
    path("agents/<str:agent_id>/import/", write_agents(editing.import_file), name="agent_import"),
    path("agents/<str:agent_id>/export/", read_agents(editing.export), name="agent_export"),
    path("agents/<str:agent_id>/compare/", read_agents(editing.compare), name="agent_compare"),
    path("agents/<str:agent_id>/versions/<number:version>/", read_agents(editing.show_version), name="agent_version"),
    path(
        "agents/<str:agent_id>/versions/<number:version>/restore/", write_agents(editing.restore), name="agent_restore"
    ),
    path("agents/<str:agent_id>/drafts/<str:draft_id>/", read_agents(editing.show_draft), name="agent_draft"),
    path("agents/<str:agent_id>/drafts/<str:draft_id>/publish/", write_agents(editing.publish), name="draft_publish"),
    path("agents/<str:agent_id>/drafts/<str:draft_id>/rebase/", write_agents(editing.rebase), name="draft_rebase"),
    path("agents/<str:agent_id>/drafts/<str:draft_id>/discard/", write_agents(editing.discard), name="draft_discard"),
    path(
        "agents/<str:agent_id>/drafts/<str:draft_id>/try/", write_agents(write_tasks(editing.try_out)), name="draft_try"
    ),
    path("skills/", read_agents(skills.show_skills), name="skill_list"),
    path("skills/<str:skill_id>/", read_agents(skills.show_skill), name="skill"),
    path("skills/<str:skill_id>/status/", stop_fleet(switches.change_skill), name="skill_status"),
    path("fleet/", read_agents(switches.show_fleet), name="fleet"),
    path("fleet/switch/", stop_fleet(switches.change_fleet), name="fleet_switch"),
    path("cost/", read_budget(cost.show_costs), name="cost"),
    path("cost/cap/", write_budget(cost.change_cap), name="cost_cap"),
    path("audit/", read_audit(audit.show_events), name="event_list"),
    path("audit/verify/", export_audit(trail.verify), name="trail_verify"),
    path("audit/export/", export_audit(trail.export), name="trail_export"),
    path("audit/runs/<str:run_id>/", export_audit(trail.show_run), name="trail_run"),
    path("audit/<number:seq>/", read_audit(audit.show_event), name="event"),
    path("audit/<number:seq>/proof.json", export_audit(trail.send_proof), name="event_proof"),
]
