from flask import Flask

app = Flask(__name__)


@app.get("/")
def home():
    return "<!doctype html><title>x</title><h1>HELLO ONE</h1>"
