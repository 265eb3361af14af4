"""How good a model is: errors of energies and forces, and how it relaxes structures."""
