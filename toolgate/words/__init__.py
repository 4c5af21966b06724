"""Rules, their fields and their values in words, the same on every page."""
