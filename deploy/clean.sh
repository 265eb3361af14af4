#!/bin/sh
# Remove what can be made again: the virtual environments, caches, build folders. Run from the checkout.
set -eu
rm -rf .venv .venv-sevennet .venv-dft .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis build dist ./*.egg-info
find . -name __pycache__ -type d -prune -exec rm -rf {} +
if [ -d .heo ]; then echo "database, models and reports are still in .heo ('make purge' removes them)"; fi
