"""The admin, and a page whose answers a load generator can check."""

from django.contrib import admin
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from reliable import answer


@csrf_exempt
def work(request):
    sent = request.body if request.method == "POST" else None
    return HttpResponse(answer(request.GET["n"], int(request.GET["size"]), sent))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("work", work),
]
