module.exports = { entry: './src/index.js', devServer: { static: './public', hot: true } }
