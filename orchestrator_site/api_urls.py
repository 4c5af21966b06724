"""The API's addresses. `/api/tasks/{id}/events` and `/metrics` are streams and scrapes: see `routing`."""

from django.urls import URLPattern, URLResolver, path, re_path

from agents import api as agents
from agents.money.views import Budget
from agents.transcript.api import TaskTranscript
from audit.api import AuditEventList
from orchestrator_site.health import DeepHealth
from orchestrator_site.schema import SchemaView, show_docs, show_schema_file
from toolgate import api as toolgate

TASK = r"^tasks/(?P<task_id>[a-zA-Z0-9._-]{1,64})"

urlpatterns: list[URLPattern | URLResolver] = [
    path("health/deep", DeepHealth.as_view()),
    path("agents", agents.AgentCollection.as_view()),
    re_path(r"^agents/(?P<agent_id>[a-zA-Z0-9._-]{1,64})$", agents.AgentDetail.as_view()),
    path("skills", agents.SkillCollection.as_view()),
    path("files", agents.FileCollection.as_view()),
    path("workflows", agents.WorkflowCollection.as_view()),
    path("tasks", agents.TaskCollection.as_view()),
    re_path(TASK + r"$", agents.TaskDetail.as_view()),
    re_path(TASK + r"/cancel$", agents.TaskCancel.as_view()),
    re_path(TASK + r"/retry$", agents.TaskRetry.as_view()),
    re_path(TASK + r"/transcript$", TaskTranscript.as_view()),
    re_path(TASK + r"/artifacts/(?P<name>[^/\x00-\x1f\x7f]{1,200})$", agents.ArtifactDetail.as_view()),
    path("budget", Budget.as_view()),
    path("audit", AuditEventList.as_view()),
    path("approvals", toolgate.ApprovalCollection.as_view()),
    re_path(r"^approvals/(?P<approval_id>[a-zA-Z0-9._-]{1,64})/decision$", toolgate.ApprovalDecision.as_view()),
    path("schema/", SchemaView.as_view()),
    path("docs/", show_docs, name="api_docs"),
    path("docs/openapi.json", show_schema_file, name="api_docs_schema"),
]
