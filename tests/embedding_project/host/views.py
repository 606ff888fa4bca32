"""The host project's own pages."""

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView


def page(request):
    """Show a page, and set the CSRF cookie as any page with a form does."""
    get_token(request)
    return HttpResponse("the host's page")


def enter(request):
    """Log Ada in, whoever it is, and lead back."""
    login(request, User.objects.get(username="ada"))
    return HttpResponseRedirect(request.GET["next"])


class OwnView(APIView):
    """Names the user."""

    @extend_schema(responses={200: str})
    def get(self, request, **kwargs):
        """Name the user."""
        return Response({"user": request.user.username})


class MissingView(APIView):
    """Never finds anything."""

    permission_classes = (AllowAny,)

    @extend_schema(responses={404: str})
    def get(self, request, **kwargs):
        """Find nothing."""
        raise NotFound
