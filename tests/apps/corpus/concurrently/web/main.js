document.querySelector('#h').textContent = 'HELLO ONE'
const show = async () => { document.querySelector('#a').textContent = await (await fetch('/api')).text().catch(() => '') }
setInterval(() => show().catch(() => {}), 500)
