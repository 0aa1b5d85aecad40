require 'sinatra'
get('/') { '<h1>HELLO ONE</h1>' }
