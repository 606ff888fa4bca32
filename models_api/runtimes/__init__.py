"""Models made from artefacts, the files that machine-learning libraries save."""
