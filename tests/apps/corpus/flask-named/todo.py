from flask import Flask

import store

app = Flask(__name__)


@app.get("/")
def index():
    return f"<h1>HELLO ONE</h1><p>{len(store.items)} items</p>"


if __name__ == "__main__":
    app.run(debug=True, port=5001)
