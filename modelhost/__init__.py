"""The Django project that serves `models_api` on its own."""
