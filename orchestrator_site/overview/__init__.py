"""The overview: what needs a person, whether all is well, what the fleet does, and what that costs."""
