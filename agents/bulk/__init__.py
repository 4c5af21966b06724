"""One thing done to many tasks: looked at first, then started with a reason, done one by one, each result kept."""
