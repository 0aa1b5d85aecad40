from flask import Blueprint

pages = Blueprint("pages", __name__)


@pages.get("/")
def home():
    return "<!doctype html><title>x</title><h1>HELLO ONE</h1>"
