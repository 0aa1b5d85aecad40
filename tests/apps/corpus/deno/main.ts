Deno.serve({ port: 3000 }, () => new Response('<h1>HELLO ONE</h1>', { headers: { 'content-type': 'text/html' } }))
