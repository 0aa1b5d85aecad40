import falcon


class Page:
    def on_get(self, request, response):
        response.content_type = falcon.MEDIA_HTML
        response.text = "<h1>HELLO ONE</h1>"


app = falcon.App()
app.add_route("/", Page())
