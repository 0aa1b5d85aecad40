import asyncio

import tornado.web


class Home(tornado.web.RequestHandler):
    def get(self):
        self.write("<!doctype html><title>x</title><h1>HELLO ONE</h1>")


async def main():
    tornado.web.Application([("/", Home)]).listen(8888)
    await asyncio.Event().wait()


asyncio.run(main())
