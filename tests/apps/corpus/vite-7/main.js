document.querySelector('#h').textContent = 'HELLO ONE'
