"""Which mixtures of cations are likely to form one oxide: cells, energies of mixing, spread of bonds."""
