"""How heo runs on a machine: services, Prefect deployments and the `heo` command."""
