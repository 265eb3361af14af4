"""Prefect flows, one file each: load, call heo_core, store."""
