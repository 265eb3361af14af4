"""Postgres: the schema, its migrations, and one module of queries a noun. It knows neither torch nor Prefect."""
