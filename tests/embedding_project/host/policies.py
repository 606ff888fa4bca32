"""What the host project asks of every request to its API."""

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle


class Everybody(BaseAuthentication):
    """Takes everybody for somebody."""

    def authenticate(self, request):
        """Ask nothing."""
        return User(username="somebody"), None


class IsNotMallory(BasePermission):
    """Keeps one user out."""

    message = "Mallory may not do this."

    def has_permission(self, request, view):
        """Look at the name."""
        return request.user.username != "mallory"


class TinasThrottle(UserRateThrottle):
    """Lets one user make two requests a day; the others may do as they please."""

    rate = "2/day"

    def allow_request(self, request, view):
        """Count only those of that user."""
        return request.user.username != "tina" or super().allow_request(request, view)


def exception_handler(exception, context):
    """Answer in the host's own form."""
    status = getattr(exception, "status_code", 500)
    return Response({"host_error": str(exception)}, status=status)
