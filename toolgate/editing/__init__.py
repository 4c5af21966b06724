"""Rules as people edit them: drafts, versions, the difference between two, files in and out, and their pages."""
