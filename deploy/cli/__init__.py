"""The `heo` command line, one module a group of commands."""
