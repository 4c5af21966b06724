"""News for the apps above; the truth is always the row."""

from django.dispatch import Signal

# Sent with `approval` (the row) and `now`, inside the transaction of the change: what a receiver does commits or
# rolls back with it. The approval is approved, refused, expired or superseded.
approval_decided = Signal()
