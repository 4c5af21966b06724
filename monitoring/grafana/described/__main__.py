"""Write the dashboards' files."""

from monitoring.grafana.described import FOLDER, render_all

for name, text in render_all().items():
    (FOLDER / name).write_text(text)
