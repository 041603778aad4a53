"""What is where in the demo's Django project, below its mount."""

from django.contrib import admin
from django.urls import path

from .guestbook import views

urlpatterns = [
    path("", views.guestbook, name="guestbook"),
    path("admin/", admin.site.urls),
]
