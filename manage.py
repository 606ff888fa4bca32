#!/usr/bin/env python3
"""Runs the service's management commands."""

from modelhost.cli import main

if __name__ == "__main__":
    main()
