"""What each list shows, as a file: one table of columns a list, one way to write it."""
