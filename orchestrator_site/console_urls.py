"""The console's addresses: which view answers, and which permission opens it."""

from django.urls import path, register_converter
from django.urls.converters import IntConverter

from agents import agent_views as fleet
from agents import skill_views as skills
from agents import views as agents
from agents.bulk import views as bulk
from agents.editing import views as editing
from agents.listing import views as listing
from agents.money import views as cost
from agents.switches import views as switches
from audit.exploring import run_views as trail
from audit.exploring import views as audit
from audit.live import views as live
from orchestrator_site import views as site
from orchestrator_site.console import require
from orchestrator_site.entering import views as entering
from orchestrator_site.exports.tables import TABLES
from orchestrator_site.exports.views import make_export
from orchestrator_site.finding import views as finding
from orchestrator_site.people import profile_views as profile
from orchestrator_site.people import token_views as tokens
from orchestrator_site.people import user_views as users
from orchestrator_site.roles import Permission
from orchestrator_site.system import views as system
from orchestrator_site.webhooks import views as webhooks
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
read_system = require(Permission.SYSTEM_READ)
write_budget = require(Permission.BUDGET_WRITE)
write_users = require(Permission.USERS_WRITE)
signed_in = require(None)
read_webhooks = require(Permission.WEBHOOKS_READ)
write_webhooks = require(Permission.WEBHOOKS_WRITE)

urlpatterns = [
    path("", read_tasks(site.show_overview), name="overview"),
    path("theme/", profile.switch_theme, name="theme"),
    path("counts/", read_approvals(site.show_counts), name="counts"),
    path("help/", read_tasks(finding.show_help), name="help"),
    path("find/", read_tasks(finding.show_finding), name="find"),
    path("views/", read_tasks(finding.show_views), name="views"),
    path("views/save/", read_tasks(finding.save), name="view_save"),
    path("views/<number:view_id>/rename/", read_tasks(finding.rename), name="view_rename"),
    path("views/<number:view_id>/delete/", read_tasks(finding.delete), name="view_delete"),
    path("live/", read_audit(live.show_live), name="live"),
    path("live/events/", read_audit(live.show_range), name="live_range"),
    path("tasks/", read_tasks(listing.show_tasks), name="task_list"),
    path("tasks/new/", write_tasks(agents.show_choice), name="task_new"),
    path("tasks/new/<str:agent_id>/", write_tasks(agents.submit), name="run_form"),
    path("tasks/new/<str:agent_id>/<str:skill_id>/", write_tasks(agents.submit), name="task_form"),
    path("tasks/bulk/", write_tasks(bulk.plan), name="bulk_plan"),
    path("tasks/bulk/<str:bulk_id>/", read_tasks(bulk.show_bulk), name="bulk"),
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
    path("agents/", read_agents(fleet.show_agents), name="agent_list"),
    path("agents/<str:agent_id>/", read_agents(fleet.show_agent), name="agent"),
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
    path("system/", read_system(system.show_system), name="system"),
    path("audit/", read_audit(audit.show_events), name="event_list"),
    path("audit/verify/", export_audit(trail.verify), name="trail_verify"),
    path("audit/export/", export_audit(trail.export), name="trail_export"),
    path("audit/runs/<str:run_id>/", export_audit(trail.show_run), name="trail_run"),
    path("audit/<number:seq>/", read_audit(audit.show_event), name="event"),
    path("audit/<number:seq>/proof.json", export_audit(trail.send_proof), name="event_proof"),
    path("settings/security/", signed_in(entering.show_security), name="security"),
    path("settings/sessions/", signed_in(entering.show_sessions), name="sessions"),
    path("settings/sessions/end-others/", signed_in(entering.close_others), name="sessions_end"),
    path("settings/sessions/<number:pk>/end/", signed_in(entering.close_session), name="session_end"),
    path("settings/profile/", signed_in(profile.show_profile), name="profile"),
    path("settings/roles/", signed_in(profile.show_roles), name="roles"),
    path("settings/tokens/", signed_in(tokens.show_tokens), name="token_list"),
    path("settings/tokens/new/", signed_in(tokens.new_token), name="token_new"),
    path("settings/tokens/<number:token_id>/", signed_in(tokens.show_token), name="token"),
    path("settings/tokens/<number:token_id>/revoke/", signed_in(tokens.revoke_token), name="token_revoke"),
    path("settings/users/", write_users(users.show_users), name="user_list"),
    path("settings/users/new/", write_users(users.new_user), name="user_new"),
    path("settings/users/<number:user_id>/", write_users(users.show_user), name="user"),
    path("settings/users/<number:user_id>/roles/", write_users(users.set_roles), name="user_roles"),
    path("settings/users/<number:user_id>/switch/", write_users(users.switch), name="user_switch"),
    path("settings/users/<number:user_id>/sessions/", write_users(users.end_sessions), name="user_sessions"),
    path("settings/users/<number:user_id>/factors/", write_users(users.forget_factors), name="user_factors"),
    path("settings/users/<number:user_id>/password/", write_users(users.renew_password), name="user_password"),
    path("settings/webhooks/", read_webhooks(webhooks.show_webhooks), name="webhook_list"),
    path("settings/webhooks/new/", write_webhooks(webhooks.new_webhook), name="webhook_new"),
    path("settings/webhooks/callbacks/rotate/", write_webhooks(webhooks.rotate_callbacks), name="callbacks_rotate"),
    path("settings/webhooks/deliveries/", read_webhooks(webhooks.show_deliveries), name="delivery_list"),
    path("settings/webhooks/deliveries/<str:delivery_id>/", read_webhooks(webhooks.show_delivery), name="delivery"),
    path(
        "settings/webhooks/deliveries/<str:delivery_id>/retry/",
        write_webhooks(webhooks.retry_delivery),
        name="delivery_retry",
    ),
    path("settings/webhooks/<str:subscription_id>/", read_webhooks(webhooks.show_webhook), name="webhook"),
    path(
        "settings/webhooks/<str:subscription_id>/secret/", write_webhooks(webhooks.show_secret), name="webhook_secret"
    ),
    path("settings/webhooks/<str:subscription_id>/edit/", write_webhooks(webhooks.edit_webhook), name="webhook_edit"),
    path(
        "settings/webhooks/<str:subscription_id>/switch/",
        write_webhooks(webhooks.switch_webhook),
        name="webhook_switch",
    ),
    path(
        "settings/webhooks/<str:subscription_id>/rotate/",
        write_webhooks(webhooks.rotate_webhook),
        name="webhook_rotate",
    ),
    path(
        "settings/webhooks/<str:subscription_id>/delete/",
        write_webhooks(webhooks.delete_webhook),
        name="webhook_delete",
    ),
]
urlpatterns += [
    path(f"exports/{one.name}.<str:format>", require(one.permission)(make_export(one)), name=f"export_{one.name}")
    for one in TABLES
]
