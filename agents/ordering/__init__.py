"""From a form or a body to an order: fields, files, and what is checked before a task exists."""
