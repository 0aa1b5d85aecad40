import cherrypy


class Root:
    @cherrypy.expose
    def index(self):
        return "<h1>HELLO ONE</h1>"


if __name__ == "__main__":
    cherrypy.quickstart(Root())
