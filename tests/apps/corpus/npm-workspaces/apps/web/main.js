import { text } from '@mono/shared'
document.querySelector('#h').textContent = text + ' from the web'
