"""What was said in a run, as pages, downloads and the API tell it."""
