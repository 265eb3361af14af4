"""Reference labels: energies, forces and moments of structures, from DFT or from a registered potential."""
