"""The host project's URLs, with the models under a prefix."""

from django.urls import include, path

from .views import MissingView, OwnView, enter, page

own = [
    path("page", page),
    path("own", OwnView.as_view()),
    path("missing", MissingView.as_view()),
    path("enter", enter, name="enter"),
]
urlpatterns = [*own, path("ml/", include("models_api.urls"))]
