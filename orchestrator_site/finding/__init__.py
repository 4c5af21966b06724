"""Getting there: keys, the palette that finds anything by name or id, saved views of lists."""
