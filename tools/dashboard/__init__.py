"""The dashboard for Grafana, deploy/grafana/appliance.json, written from a list of panels: `python -m tools.dashboard`.

It is built with Grafana's own SDK, whose builders are made from Grafana's schema, so the type checker refuses what Grafana does
not know.
"""
