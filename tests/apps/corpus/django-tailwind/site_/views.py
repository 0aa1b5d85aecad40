from django.http import HttpResponse


def home(request):
    return HttpResponse("<!doctype html><title>x</title><h1>HELLO ONE</h1>")
