"""The pages."""

import hashlib
import json
import os

from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import path, re_path, reverse
from django.views.decorators.http import require_POST
from django.views.static import serve

STATIC = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "static")


def hello(request, name):
    return HttpResponse(f"{request.GET.get('greeting', 'Hello')}, {name}!")


@require_POST
def form(request):
    return JsonResponse(request.POST.dict())


@require_POST
def from_json(request):
    return JsonResponse({"received": json.loads(request.body)})


@require_POST
def upload(request):
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    answer = {"name": file.name, "sha256": digest.hexdigest(), "note": request.POST["note"]}
    return JsonResponse(answer)


def login(request, user):
    response = redirect("whoami")
    response.set_cookie("user", user)
    response.set_cookie("theme", "dark")
    return response


def whoami(request):
    return HttpResponse(request.COOKIES.get("user", "nobody"))


def stream(request, count):
    lines = (f"line {n}\n" for n in range(count))
    return StreamingHttpResponse(lines, content_type="text/plain")


def file(request):
    return FileResponse(open(os.path.join(STATIC, "hello.txt"), "rb"))


def error(request):
    raise RuntimeError("a page that fails")


def where(request):
    return JsonResponse(
        {
            "script_name": request.META["SCRIPT_NAME"],
            "path_info": request.META["PATH_INFO"],
            "link": reverse("hello", args=["link"]),
        }
    )


urlpatterns = [
    path("hello/<str:name>", hello, name="hello"),
    path("form", form),
    path("json", from_json),
    path("upload", upload),
    path("login/<str:user>", login),
    path("whoami", whoami, name="whoami"),
    path("stream/<int:count>", stream),
    path("file", file),
    path("error", error),
    path("where", where),
    re_path(r"^static/(?P<path>.*)$", serve, {"document_root": STATIC}),
]
