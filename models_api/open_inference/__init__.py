"""The Open Inference Protocol: a second layer on `serving`, beside the JSON API."""
