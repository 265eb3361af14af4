"""Structures to start from: parent crystals, site filling, supercells, rattle and strain."""
