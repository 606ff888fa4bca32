"""Artefacts: where they come from, and the folder of this machine that they are kept in."""
