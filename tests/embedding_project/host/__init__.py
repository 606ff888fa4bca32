"""A Django project that was there before, and now hosts models as well."""
