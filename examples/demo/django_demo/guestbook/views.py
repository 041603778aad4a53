from django.forms import ModelForm
from django.shortcuts import redirect, render

from .models import Entry


class EntryForm(ModelForm):
    class Meta:
        model = Entry
        fields = ["name", "message"]


def guestbook(request):
    form = EntryForm(request.POST or None)
    if form.is_valid():
        form.save()
        return redirect("guestbook")
    return render(
        request,
        "guestbook/guestbook.html",
        {"form": form, "entries": Entry.objects.all()[:50]},
    )
