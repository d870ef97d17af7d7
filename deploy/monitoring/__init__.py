"""Rules, alerts and dashboards for Prometheus and Grafana, as code; `python -m deploy.monitoring` writes the files."""
