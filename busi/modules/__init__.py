"""Lightning modules of the two stages."""
