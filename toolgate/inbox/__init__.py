"""Approvals as people and programs meet them: the queue, one request, its form, the same over HTTP."""
